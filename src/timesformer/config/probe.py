"""How a probe is trained: a head on the features of a frozen network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from timesformer.config.training import Device, Factor, Positive, Schedule


class Probe(Schedule):
    """Heads on frozen features, which are computed once: one head for each learning rate, all trained at once."""

    learning_rates: tuple[Positive, ...] = Field(
        (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), min_length=1, description="peak learning rates; the best on `val` is kept"
    )
    weight_decay: float = Field(0.01, ge=0, description="weight decay of adamw")
    betas: tuple[Factor, Factor] = Field((0.9, 0.999), description="running-average factors of adamw")
    schedule: Literal["steps", "cosine", "constant"] = Field("cosine", description="how the learning rates fall")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="fraction of the target spread over all classes")
    epochs: int = Field(50, gt=0, strict=True, description="passes over the training split's features")
    batch_size: int = Field(16, gt=0, description="clips of a step")
    device: Device = Field("auto", description="where the features are computed; auto takes a GPU where there is one")
    precision: Literal["32-true", "bf16-mixed"] = Field(
        "32-true", description="arithmetic of the features; bf16-mixed is 32-true where there is no native bfloat16"
    )
