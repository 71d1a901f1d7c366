"""Recipes: all settings of one run. `Recipe` trains a whole network, `ProbeRecipe` a head on a frozen one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from timesformer.config.clip import Preprocessing
from timesformer.config.model import AnyModelSettings, ModelSettings, TimeSformerSettings
from timesformer.config.probe import Probe
from timesformer.config.training import Augmentation, Data, Optimizer, Training
from timesformer.errors import SettingError
from timesformer.settings import Settings

DATA_DECIDES = ("num_classes", "multilabel")


class RunSettings(Settings):
    """What recipes of all tasks have."""

    task: str = Field(description="what a run of the recipe does")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of weights, order, sampling and augmentation")
    model: AnyModelSettings = TimeSformerSettings()
    preprocessing: Preprocessing = Preprocessing()
    data: Data = Data()

    @classmethod
    def class_for(cls, values: Any) -> type[Recipe] | type[ProbeRecipe]:
        """The class of the task that plain values name, `Recipe` where they name none.

        Raises SettingError for a task that does not exist.
        """
        task = values.get("task", "train") if isinstance(values, Mapping) else "train"
        if not isinstance(task, str) or task not in TASKS:
            raise SettingError(f"task is {task!r}, should be {' or '.join(TASKS)}")
        return TASKS[task]

    @field_validator("model")
    @classmethod
    def _data_decides(cls, model: ModelSettings) -> ModelSettings:
        for name in DATA_DECIDES:
            if name in model.model_fields_set:
                raise ValueError(f"{name} is {getattr(model, name)}; remove it, the data decides it")
        return model

    @field_serializer("model")
    def _without_what_the_data_decides(self, model: ModelSettings) -> dict[str, Any]:
        return model.model_dump(mode="json", exclude=set(DATA_DECIDES))

    @model_validator(mode="after")
    def _frames_hold_the_crop(self) -> Self:
        size = self.model.image_size
        if (self.preprocessing.short_side or size) < size:
            raise ValueError(
                f"preprocessing.short_side {self.preprocessing.short_side} is smaller than model.image_size {size}"
            )
        return self


class Recipe(RunSettings):
    """A whole training run: with a data set, all that is needed to repeat it."""

    task: Literal["train"] = Field("train", description="train a whole network")
    augmentation: Augmentation = Augmentation()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _no_probe(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "probe" in values:
            raise ValueError("probe is a group of settings of task: probe, which the recipe does not say")
        return values

    @model_validator(mode="after")
    def _augmented_frames_hold_the_crop(self) -> Self:
        size = self.model.image_size
        if self.augmentation.short_side[0] < size:
            raise ValueError(
                f"augmentation.short_side starts at {self.augmentation.short_side[0]}, "
                f"smaller than the crop of model.image_size {size}"
            )
        if self.preprocessing.sampling.method == "segments" and self.augmentation.time_scale[1] > 1:
            raise ValueError(
                f"augmentation.time_scale goes up to {self.augmentation.time_scale[1]:g}; segments cannot be more than "
                "the whole video, 1"
            )
        return self

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        repeats, batch = self.augmentation.repeats, self.training.batch_size
        if batch % repeats:
            raise ValueError(f"training.batch_size {batch} is not a multiple of augmentation.repeats {repeats}")
        if (self.augmentation.mixup or self.augmentation.cutmix) and batch == 1:
            raise ValueError("augmentation.mixup and cutmix mix clips of a batch; training.batch_size is 1")
        return self

    @model_validator(mode="after")
    def _warmup_fits(self) -> Self:
        epochs = self.training.epochs
        warmup = self.optimizer.warmup_of(epochs)
        if warmup >= epochs:
            raise ValueError(
                f"optimizer.warmup_epochs {warmup:g} leaves nothing of training.epochs {epochs}; lower it as well, say "
                f"optimizer.warmup_epochs={epochs / 10:g}"
            )
        return self

    @model_validator(mode="after")
    def _sharded_fits(self) -> Self:
        if self.training.strategy == "fsdp" and self.training.ema is not None:
            raise ValueError("training.ema keeps whole weights on every device; it is not for training.strategy fsdp")
        if self.training.strategy == "fsdp" and self.training.precision == "16-mixed":
            raise ValueError("training.precision 16-mixed is not for training.strategy fsdp; bf16-mixed is")
        if self.training.strategy == "fsdp" and self.training.initial_head == "probe":
            raise ValueError(
                "training.initial_head probe is a head of one process, which ddp gives to all; it is not for "
                "training.strategy fsdp"
            )
        return self


class ProbeRecipe(RunSettings):
    """A probe: with a data set and weights, all that is needed to repeat it."""

    # What had these names while a probe was a `Recipe`, before version 0.2.
    moved: ClassVar[dict[str, str]] = {
        "optimizer.weight_decay": "probe.weight_decay",
        **{f"training.{name}": f"probe.{name}" for name in ("epochs", "batch_size", "device", "precision")},
    }

    task: Literal["probe"] = Field("probe", description="train heads on the features of a frozen network")
    probe: Probe = Probe()

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        pooling = getattr(self.model, "pooling", None)
        if pooling == "attentive":
            raise ValueError("model.pooling is attentive; a probe tries that head with probe.heads=[attentive]")
        if "attentive" in self.probe.heads and pooling is None:
            raise ValueError(f"probe.heads has attentive, which architecture {self.model.architecture} does not have")
        return self


AnyRecipe = Recipe | ProbeRecipe
TASKS: dict[str, type[Recipe] | type[ProbeRecipe]] = {"train": Recipe, "probe": ProbeRecipe}
