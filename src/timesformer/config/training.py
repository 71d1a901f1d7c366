"""How a model is trained: augmentation, optimiser, length and hardware, reading the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from timesformer.config.model import ActivationCheckpointing
from timesformer.settings import Settings

Positive = Annotated[float, Field(gt=0)]
Factor = Annotated[float, Field(ge=0, lt=1)]
Device = Literal["auto", "cpu", "cuda", "mps"]


def _refuse_flip(value: Any) -> Any:
    pairs = isinstance(value, Mapping) and all(isinstance(name, str) for pair in value.items() for name in pair)
    if not (isinstance(value, bool) or ((isinstance(value, str) or pairs) and value)):
        raise PydanticCustomError(
            "flip",
            "Input should be true, false, left_right, pairs of classes such as {swipe_left: swipe_right}, or a column",
        )
    return value


Flip = Annotated[bool | str | dict[str, str], BeforeValidator(_refuse_flip)]


class Augmentation(Settings):
    """What training changes at random; every clip draws its own."""

    renamed: ClassVar[dict[str, str]] = {"short_side_law": "short_side_distribution"}

    repeats: int = Field(1, gt=0, description="clips drawn of a video each time it is decoded (repeated augmentation)")
    time_scale: tuple[Positive, Positive] = Field(
        (1.0, 1.0), description="smallest and largest factor of a clip's span; of segments, the fraction of the video"
    )
    short_side: tuple[int, int] = Field((256, 320), description="smallest and largest short side, pixels")
    short_side_distribution: Literal["uniform", "inverse_uniform"] = Field(
        "uniform", description="distribution that the short side is drawn from"
    )
    flip: Flip = Field(
        True,
        description="mirror half of the clips; where classes are directions, pairs of classes that are each other's "
        "mirror images, left_right, which finds them by their names, or the column of the CSV list with the class of "
        "each video's mirrored clip",
    )
    random_ops: int = Field(0, ge=0, le=12, description="operations RandAugment applies to a clip; 0 for none")
    random_magnitude: float = Field(0.5, gt=0, le=1, description="strength of those operations")
    affine: float = Field(
        0.0, ge=0, le=1, description="strength of one random rotation, shift, scale and shear of every clip; 0 for none"
    )
    erasing: float = Field(0.0, ge=0, le=1, description="fraction of clips that lose a box, the same in all frames")
    # Above 1, the uniform distribution, halves become likelier than wholes: such a number is hardly meant as an alpha.
    mixup: float = Field(
        0.0, ge=0, le=1, description="alpha of the Beta distribution that mixes two clips of a batch; 0 for none"
    )
    cutmix: float = Field(
        0.0, ge=0, le=1, description="alpha of the Beta distribution of the box taken from another clip; 0 for none"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.short_side
        if not 0 < low <= high:
            raise ValueError(f"short_side [{low}, {high}] must be two positive sizes, the smaller first")
        if self.time_scale[0] > self.time_scale[1]:
            raise ValueError(f"time_scale {list(self.time_scale)}: the smaller factor comes first")
        return self


class Schedule(Settings):
    """How the learning rate changes over a run."""

    schedule: Literal["steps", "cosine", "constant"] = Field("steps", description="how the learning rate falls")
    steps: tuple[Positive, ...] = Field((11, 14), description="epochs at which `steps` divides the rate by ten")
    warmup_fraction: float = Field(
        0.0, ge=0, lt=1, description="fraction of the run in which the rate grows linearly from 1%, at its start"
    )
    warmup_epochs: float | None = Field(
        None, ge=0, description="the same in epochs, which then count; null takes warmup_fraction"
    )

    def warmup_of(self, epochs: int) -> float:
        """The epochs of a run in which the rate grows."""
        return self.warmup_fraction * epochs if self.warmup_epochs is None else self.warmup_epochs


class Optimizer(Schedule):
    """Optimiser and learning-rate schedule."""

    name: Literal["sgd", "adamw"] = Field("sgd", description="sgd has Nesterov momentum")
    learning_rate: float = Field(0.005, gt=0, description="peak learning rate for `reference_batch`")
    reference_batch: int = Field(64, gt=0, description="clips a step that the learning rate is stated for")
    scale_learning_rate: Literal["linear", "sqrt", "none"] = Field(
        "linear", description="how the rate follows the real number of clips a step (devices x batch_size x accumulate)"
    )
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning rate of a block as a fraction of the next one's")
    new_rate_factor: float = Field(
        1.0,
        gt=0,
        description="learning rate of what the weights of --init lack (a new head; with an image model the time table "
        "and temporal_fc too) as a multiple",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd")
    betas: tuple[Factor, Factor] = Field((0.9, 0.999), description="running-average factors of adamw")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    decay_all: bool = Field(True, description="decay norms, biases and tables too, as the paper does")
    clip_gradient: float | None = Field(None, gt=0, description="largest norm of the gradient; null does not clip")

    def rate_for(self, batch: int) -> float:
        """The peak learning rate of steps of `batch` clips."""
        power = {"linear": 1.0, "sqrt": 0.5, "none": 0.0}[self.scale_learning_rate]
        return float(self.learning_rate * (batch / self.reference_batch) ** power)


class Training(Settings):
    """Length, batch and hardware of a run."""

    renamed: ClassVar[dict[str, str]] = {"watch_every": "validate_every"}

    trainable: Literal["all", "last_blocks", "video", "adapters"] = Field(
        "all",
        description="what is trained: all; the last blocks and what follows them; what an image model lacks (added "
        "attention steps, time table), norms and head; or low-rank adapters of the linear layers, and what the weights "
        "of --init lack",
    )
    last_blocks: int | None = Field(None, gt=0, description="number of blocks that last_blocks trains; null is 4")
    adapter_rank: int | None = Field(None, gt=0, description="rank of the adapters; null is 8")
    epochs: int = Field(15, gt=0, strict=True, description="passes over the training split")
    batch_size: int = Field(8, gt=0, description="clips a device takes at once")
    accumulate: int = Field(1, gt=0, description="batches whose gradients make one optimiser step")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="fraction of the target spread over all classes")
    balance: Literal["none", "sampling", "loss"] = Field(
        "none", description="against unequal classes: draw videos of all classes equally often, or weigh their losses"
    )
    ema: float | None = Field(None, gt=0, lt=1, description="decay of averaged weights, which are then the result")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field("32-true", description="arithmetic")
    device: Device = Field("auto", description="auto takes a GPU where there is one")
    strategy: Literal["ddp", "fsdp"] = Field("ddp", description="how several processes share the work")
    checkpoint_activations: ActivationCheckpointing = Field(
        "none",
        description="what the backward pass computes again to save memory: none, what is cheap (norms, GELU, "
        "attention of few keys), or whole blocks",
    )
    compile: bool = Field(False, description="compile the network with torch.compile")
    deterministic: bool = Field(False, description="refuse operations whose result may differ from run to run")
    validate_every: int = Field(
        1, gt=0, description="epochs from one validation to the next; the last epoch always has one"
    )
    validation_fraction: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="fraction of the training videos that is cut off and validated on where there is no val split",
    )
    patience: int | None = Field(
        None, gt=0, description="validations on val without a better score after which the run stops; null never does"
    )
    probe_floor: bool = Field(
        False,
        description="score a linear probe on the features of the weights of --init before the first step, to hold the "
        "run against it; for at most 2,000 training videos",
    )
    initial_head: Literal["new", "probe"] = Field(
        "new",
        description="what a head starts as where the weights of --init have none for the data's classes: new, or the "
        "linear probe on their features, so that the run starts at its score; for at most 2,000 training videos",
    )
    checkpoint_steps: int | None = Field(
        None, gt=0, description="optimiser steps between checkpoints inside an epoch; there is one after each epoch"
    )
    loggers: tuple[Literal["mlflow", "wandb"], ...] = Field((), description="trackers beside TensorBoard and CSV")

    @model_validator(mode="after")
    def _trainable_fits(self) -> Self:
        for name, kind in (("last_blocks", "last_blocks"), ("adapter_rank", "adapters")):
            value = getattr(self, name)
            if value is not None and self.trainable != kind:
                raise ValueError(
                    f"{name} is {value}, but trainable is {self.trainable}; it is for trainable={kind} alone"
                )
        return self


class Data(Settings):
    """Reading the data."""

    renamed: ClassVar[dict[str, str]] = {"max_bad_share": "max_bad_fraction"}

    fraction: float = Field(
        1.0, gt=0, le=1, description="fraction of the training videos, of each class and by the seed"
    )
    group: str | None = Field(
        None,
        description="column of the CSV lists, such as a person or a recording, whose groups are kept whole wherever a "
        "split's videos are divided",
    )
    workers: int | None = Field(
        None, ge=0, description="processes that decode; null is one a core, divided among torchrun's, at most 8"
    )
    quarantine: Path | None = Field(
        None, description="list of videos to skip (`timesformer data check --out`); null is DATA/quarantine.csv"
    )
    max_bad_fraction: float = Field(
        0.05, ge=0, le=1, description="fraction of unreadable videos over which a run stops"
    )
