"""`timesformer bench train`: whole optimiser steps, against the limit of the machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import torch
import torch.nn.functional as F

from timesformer.baselines.architectures import build_model
from timesformer.bench.child import EndedError, run_apart
from timesformer.bench.limit import Speed, measure_speed
from timesformer.bench.model import check_counts, scheme_of, settings_given
from timesformer.bench.products import training_products
from timesformer.config import ActivationCheckpointing, ModelSettings, Optimizer, Preprocessing, Training
from timesformer.device import fast_bf16, find_device, native_bf16
from timesformer.errors import SettingError, TrainingError
from timesformer.training.memory import keep_freed_memory
from timesformer.training.optim import make_optimizer
from timesformer.training.trainable import find_trainable
from timesformer.video.transforms import normalise

PRECISIONS = ("auto", "fp32", "bf16")


class TrainSpeed(NamedTuple):
    """Speed of an optimiser step: normalise, forward, loss, backward, fused AdamW.

    scheme       of the model, or the architecture of one that has none
    precision, device   what was picked; bf16 is the recipes' bf16-mixed, with weights in float32
    speed        of a step; products computed again in the backward pass are not counted
    """

    scheme: str
    precision: str
    device: str
    speed: Speed

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = self._asdict()
        return {**values, **values.pop("speed").as_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainSpeed:
        """The opposite of `as_dict`."""
        own = {name: values[name] for name in ("scheme", "precision", "device")}
        return cls(**own, speed=Speed.from_dict({name: values[name] for name in Speed._fields}))


class Step:
    """An optimiser step on one batch of random clips (B, 3, T, S, S), uint8, as `timesformer train` does it."""

    def __init__(
        self,
        settings: ModelSettings,
        batch: int,
        precision: str,
        device: str,
        *,
        checkpoint_activations: ActivationCheckpointing = "none",
        compiled: bool = False,
        training: Training | None = None,
    ) -> None:
        """`training`: what of the model is trained, as if its head alone were new; all if not given."""
        self.device = find_device(device)
        self.precision = pick_precision(precision, self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        torch.manual_seed(0)
        model = build_model(settings).to(self.device).train()
        head = tuple(f"{name}." for name in model.head_names())
        new = frozenset(name for name, _ in model.named_parameters() if name.startswith(head))
        trainable = find_trainable(model, training or Training(), new)
        if trainable is not None:
            trainable.apply(model, seed=0)
        model.set_activation_checkpointing(checkpoint_activations)
        self.network: Callable[[torch.Tensor], torch.Tensor] = torch.compile(model) if compiled else model
        self.optimizer = make_optimizer(model, Optimizer(name="adamw", learning_rate=1e-4), batch, fused=True)
        self.preprocessing = Preprocessing()
        shape = (batch, 3, settings.num_frames, settings.image_size, settings.image_size)
        self.clips = torch.randint(0, 256, shape, dtype=torch.uint8, device=self.device)
        self.labels = torch.randint(0, settings.num_classes, (batch,), device=self.device)
        self.shape = shape
        self.trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)

    def __call__(self) -> torch.Tensor:
        """Take the step; the loss before it."""
        half = torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else None
        with half or contextlib.nullcontext():
            logits = self.network(normalise(self.clips, self.preprocessing))
        loss = F.cross_entropy(logits.float(), self.labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def measure_step(
    *,
    architecture: str | None = None,
    size: str | None = None,
    scheme: str | None = None,
    frames: int | None = None,
    image_size: int | None = None,
    batch: int = 4,
    precision: str = "auto",
    checkpoint_activations: ActivationCheckpointing = "none",
    compiled: bool = False,
    rounds: int = 5,
    device: str = "auto",
) -> TrainSpeed:
    """Time steps on clips (batch, 3, frames, image_size, image_size) and their products in turn.

    architecture, size, scheme, frames, image_size: as for `measure_model`, of random weights.
    Two steps come before those that count: the first makes the optimiser's state. Memory is that of the second.
    Raises SettingError for values that are not allowed here.
    """
    check_counts(batch=batch, rounds=rounds)
    if checkpoint_activations not in get_args(ActivationCheckpointing):
        known = ", ".join(get_args(ActivationCheckpointing))
        raise SettingError(f"checkpoint_activations is {checkpoint_activations!r}: one of {known}")
    settings = settings_given(architecture, size, scheme, frames, image_size, "bench train")
    step = Step(settings, batch, precision, device, checkpoint_activations=checkpoint_activations, compiled=compiled)
    step()
    speed = measure_speed(
        step, training_products(settings, step.shape), step.shape, step.precision, step.device, rounds
    )
    return TrainSpeed(scheme_of(settings), step.precision, str(step.device), speed)


def measure_step_apart(**arguments: Any) -> TrainSpeed:
    """`measure_step` in a process of its own, whose peak of memory is no other's. Raises what it raises; TrainingError
    where there is not enough memory."""
    try:
        return TrainSpeed.from_dict(run_apart("timesformer.bench.train:plain_step", arguments))
    except EndedError as end:
        raise TrainingError(f"bench train: {end.status}: {end}") from None


def plain_step(**arguments: Any) -> dict[str, Any]:
    """`measure_step` with plain values, for `timesformer.bench.child`."""
    return measure_step(**arguments).as_dict()


def pick_precision(precision: str, device: torch.device) -> str:
    """fp32 or bf16; "auto" takes bf16 where processor or GPU are faster in it. Raises SettingError for another."""
    if precision not in PRECISIONS:
        raise SettingError(f"precision is {precision!r}: one of {', '.join(PRECISIONS)}")
    if precision == "bf16" and not native_bf16(device):
        raise SettingError(f"precision bf16: {device.type} has no bf16 products of its own here: precision fp32")
    return ("bf16" if fast_bf16(device) else "fp32") if precision == "auto" else precision
