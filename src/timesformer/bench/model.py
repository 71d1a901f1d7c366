"""`timesformer bench model`: one batch of clips through an engine, against the limit of the machine."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from timesformer.bench.products import Limits, inference_products
from timesformer.bench.timing import Spread, forget_peak, peak_memory, timed
from timesformer.config import ModelSettings, Preprocessing, make
from timesformer.errors import SettingError
from timesformer.inference.engine import EngineName, Precision, load_engine
from timesformer.model.timesformer import TimeSformer
from timesformer.weights import Classifier, open_weights


class ModelSpeed(NamedTuple):
    """Speed of one engine on one shape of clips.

    engine, precision, device, reason   what was picked, and why
    agreement    how its logits compare with the float32 model's
    scheme, clips   the model's scheme; the shape (B, 3, T, H, W) of a batch
    seconds      of a batch: median, smallest and largest of `rounds`
    clips_per_second
    macs         multiply-accumulates that the engine does for a batch; a little fewer than the model's
    macs_per_second
    limit        seconds that those products take alone, in the same rounds
    share        median over rounds of limit / seconds: 1 would be a pass that does nothing but its products
    peak         MACs a second of the best of those products; on CUDA, of the best product at all
    memory       bytes at the peak of a pass: of the process, or of the GPU's memory
    memory_watched  whether `memory` is that of the passes alone (elsewhere it is the process's from its start)
    """

    engine: str
    precision: str
    device: str
    reason: str
    agreement: str
    scheme: str
    clips: tuple[int, ...]
    rounds: int
    seconds: Spread
    clips_per_second: float
    macs: int
    macs_per_second: float
    limit: Spread
    share: float
    peak: float
    memory: int
    memory_watched: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**self._asdict(), "seconds": self.seconds._asdict(), "limit": self.limit._asdict()}


def measure_model(
    weights: str | Path | Classifier | None = None,
    *,
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

    weights: None draws a network of `size` and `scheme` (base, divided_space_time); frames and image_size are then 8
    and 224, otherwise the weights' own.
    Raises SettingError for values that are not allowed or that the weights decide, and what `load_engine` raises.
    """
    check_counts(batch=batch, rounds=rounds)
    classifier = _classifier(weights, size, scheme, frames, image_size)
    settings = classifier.model.settings
    shape = (batch, 3, frames or settings.num_frames, image_size or settings.image_size,
             image_size or settings.image_size)  # fmt: skip
    clips = torch.randint(0, 256, shape, dtype=torch.uint8)
    run = load_engine(classifier, engine, precision, device=device, clips=clips)
    clips = clips.to(run.device)
    del classifier
    gc.collect()
    watched = forget_peak(run.device)
    run(clips)
    memory = peak_memory(run.device)
    limits = Limits(inference_products(settings, shape), run.precision, run.device)
    times, alone = [], []
    for _ in range(rounds):
        times.append(timed(lambda: run(clips), run.device))
        alone.append(limits.measure())
        on_round()
    seconds = Spread.of(times)
    share = Spread.of([limit.seconds / own for limit, own in zip(alone, times, strict=True)]).median
    return ModelSpeed(
        run.engine, run.precision, str(run.device), run.reason, str(run.agreement), settings.scheme, shape, rounds,
        seconds, batch / seconds.median, limits.macs, limits.macs / seconds.median,
        Spread.of([limit.seconds for limit in alone]), share, Spread.of([limit.peak for limit in alone]).median,
        memory, watched,
    )  # fmt: skip


def random_classifier(settings: ModelSettings) -> Classifier:
    """New weights; `temporal_fc`, which starts at zero, drawn too, so that no step is without effect."""
    torch.manual_seed(0)
    model = TimeSformer(**settings.model_dump()).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if ".fc." in name and parameter.ndim == 2:
            parameter.normal_(0, 0.02)
    return Classifier(model, Preprocessing(), tuple(str(number) for number in range(settings.num_classes)))


def check_counts(**counts: int) -> None:
    """Raises SettingError for a count below 1, by its name."""
    for name, value in counts.items():
        if value < 1:
            raise SettingError(f"{name} is {value}: at least 1")


def _classifier(
    weights: str | Path | Classifier | None,
    size: str | None,
    scheme: str | None,
    frames: int | None,
    image_size: int | None,
) -> Classifier:
    if weights is None:
        values = {"size": size, "scheme": scheme, "num_frames": frames, "image_size": image_size}
        given = {name: value for name, value in values.items() if value is not None}
        return random_classifier(make(ModelSettings, given, "bench model"))
    for name, value in (("size", size), ("scheme", scheme)):
        if value is not None:
            raise SettingError(f"{name} is {value}, but the weights tell their own: leave {name} or the weights out")
    check_counts(**{name: value for name, value in (("frames", frames), ("image_size", image_size))
                    if value is not None})  # fmt: skip
    return weights if isinstance(weights, Classifier) else open_weights(weights)
