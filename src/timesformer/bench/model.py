"""`timesformer bench model`: one batch of clips through an engine, against the limit of the machine."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from timesformer.baselines.architectures import build_model
from timesformer.bench.limit import Speed, measure_speed
from timesformer.bench.products import inference_products
from timesformer.config import ModelSettings, Preprocessing, TimeSformerSettings
from timesformer.engine.engine import EngineName, Precision, load_engine
from timesformer.errors import SettingError
from timesformer.model.block import Step
from timesformer.settings import make
from timesformer.weights.classifier import Classifier, load_model


class ModelSpeed(NamedTuple):
    """Speed of an engine.

    scheme       of the model, or the architecture of one that has none
    engine, precision, device, reason   what was picked, and why
    agreement    how its logits compare with the float32 model's
    speed        of a batch of clips; its multiply-accumulates are those that the engine does, fewer than the model's
    """

    scheme: str
    engine: str
    precision: str
    device: str
    reason: str
    agreement: str
    speed: Speed

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = self._asdict()
        return {**values, **values.pop("speed").as_dict()}


def measure_model(
    weights: str | Path | Classifier | None = None,
    *,
    architecture: str | None = None,
    size: str | None = None,
    scheme: str | None = None,
    frames: int | None = None,
    image_size: int | None = None,
    batch: int = 1,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    rounds: int = 7,
    device: str = "auto",
    on_round: Callable[[], object] = lambda: None,
) -> ModelSpeed:
    """Time batches of clips (batch, 3, frames, image_size, image_size) and the products of the network in turn.

    weights: None draws a network of `architecture` (timesformer), `size` and `scheme` (base, divided_space_time);
    frames and image_size are then the architecture's own (8 and 224), otherwise the weights'.
    Raises SettingError for values that are not allowed or that the weights decide, and what `load_engine` raises.
    """
    check_counts(batch=batch, rounds=rounds)
    classifier = _classifier(weights, architecture, size, scheme, frames, image_size)
    settings = classifier.model.settings
    shape = (
        batch,
        3,
        frames or settings.num_frames,
        image_size or settings.image_size,
        image_size or settings.image_size,
    )
    clips = torch.randint(0, 256, shape, dtype=torch.uint8)
    run = load_engine(classifier, engine, precision, device=device, clips=clips)
    clips = clips.to(run.device)
    del classifier
    gc.collect()
    speed = measure_speed(
        lambda: run(clips), inference_products(settings, shape), shape, run.precision, run.device, rounds, on_round
    )
    return ModelSpeed(
        scheme_of(settings), run.engine, run.precision, str(run.device), run.reason, str(run.agreement), speed
    )


def scheme_of(settings: ModelSettings) -> str:
    """The attention scheme of a model, or the architecture of one that has none."""
    return settings.scheme_name if isinstance(settings, TimeSformerSettings) else settings.architecture


def random_classifier(settings: ModelSettings) -> Classifier:
    """New weights; `temporal_fc`, which is initialised to zero, drawn too, so that no step is without effect."""
    torch.manual_seed(0)
    model = build_model(settings).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, Step) and module.fc is not None:
            module.fc.weight.normal_(0, 0.02)
    return Classifier(model, Preprocessing(), tuple(str(number) for number in range(settings.num_classes)))


def settings_given(
    architecture: str | None,
    size: str | None,
    scheme: str | None,
    frames: int | None,
    image_size: int | None,
    where: str,
) -> ModelSettings:
    """Settings of an architecture, TimeSformer if not given, that are its own where None is given. Raises SettingError
    for one that it does not have; `where` is for its message."""
    values = {
        "architecture": architecture,
        "size": size,
        "scheme": scheme,
        "num_frames": frames,
        "image_size": image_size,
    }
    given = {name: value for name, value in values.items() if value is not None}
    return make(ModelSettings.class_for(given), given, where)


def check_counts(**counts: int) -> None:
    """Raises SettingError for a count below 1, by its name."""
    for name, value in counts.items():
        if value < 1:
            raise SettingError(f"{name} is {value}: at least 1")


def _classifier(
    weights: str | Path | Classifier | None,
    architecture: str | None,
    size: str | None,
    scheme: str | None,
    frames: int | None,
    image_size: int | None,
) -> Classifier:
    if weights is None:
        return random_classifier(settings_given(architecture, size, scheme, frames, image_size, "bench model"))
    for name, value in (("architecture", architecture), ("size", size), ("scheme", scheme)):
        if value is not None:
            raise SettingError(f"{name} is {value}, but the weights have their own: give {name} or weights, not both")
    check_counts(
        **{name: value for name, value in (("frames", frames), ("image_size", image_size)) if value is not None}
    )
    return weights if isinstance(weights, Classifier) else load_model(weights)
