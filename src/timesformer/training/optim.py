"""Optimiser and learning-rate schedule of a recipe."""

from __future__ import annotations

from typing import Any

from torch.optim import SGD, AdamW
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from timesformer.config import Optimizer, Schedule
from timesformer.model.protocol import VideoModel

WARMUP_START = 0.01


def make_optimizer(
    model: VideoModel, settings: Optimizer, batch: int, *, new: frozenset[str] = frozenset(), fused: bool = False
) -> TorchOptimizer:
    """SGD with Nesterov momentum or AdamW, for steps of `batch` clips.

    With `decay_all` off, norms, biases and what `model.no_weight_decay()` names are not decayed. With `layer_decay` d
    below 1, a parameter of layer i (`model.layer_of`) of a model of n blocks learns at d ** (n + 1 - i) of the rate:
    what comes before the blocks at d ** (n + 1), the last block at d, what follows it at all of the rate (BEiT).
    The parameters named in `new` learn at `new_rate_factor` times that. Frozen parameters are not optimised.
    """
    rate = settings.rate_for(batch)
    last, no_decay = len(model.blocks()) + 1, model.no_weight_decay()
    groups: dict[tuple[bool, int, float], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = settings.decay_all or (parameter.ndim > 1 and name not in no_decay)
        layer = model.layer_of(name) if settings.layer_decay < 1 else last
        factor = settings.new_rate_factor if name in new else 1.0
        group = groups.setdefault(
            (decayed, layer, factor),
            {
                "params": [],
                "lr": rate * settings.layer_decay ** (last - layer) * factor,
                "weight_decay": settings.weight_decay if decayed else 0.0,
            },
        )
        group["params"].append(parameter)
    if settings.name == "sgd":
        return SGD(groups.values(), rate, settings.momentum, nesterov=settings.momentum > 0, fused=fused or None)
    return AdamW(groups.values(), rate, settings.betas, fused=fused or None)


def make_schedule(optimizer: TorchOptimizer, settings: Schedule, steps_per_epoch: float, epochs: int) -> LRScheduler:
    """The learning rate of every optimiser step: linear warm-up, then steps, a cosine to zero, or nothing."""
    total = round(steps_per_epoch * epochs)
    warmup = round(steps_per_epoch * settings.warmup_of(epochs))
    main: LRScheduler
    if settings.schedule == "steps":
        milestones = [round(epoch * steps_per_epoch) - warmup for epoch in settings.steps]
        main = MultiStepLR(optimizer, milestones, gamma=0.1)
    elif settings.schedule == "cosine":
        main = CosineAnnealingLR(optimizer, max(total - warmup, 1))
    else:
        main = ConstantLR(optimizer, factor=1.0, total_iters=1)
    if not warmup:
        return main
    return SequentialLR(optimizer, [LinearLR(optimizer, WARMUP_START, 1.0, warmup), main], [warmup])
