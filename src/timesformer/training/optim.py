"""Optimiser and learning-rate schedule of a recipe."""

from __future__ import annotations

from typing import Any

from torch.optim import SGD, AdamW
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from timesformer.config import Optimizer
from timesformer.model.timesformer import TimeSformer

WARMUP_START = 0.01


def make_optimizer(model: TimeSformer, settings: Optimizer, batch: int, *, fused: bool = False) -> TorchOptimizer:
    """SGD with Nesterov momentum or AdamW, for steps of `batch` clips.

    With `decay_all` off, norms, biases, tables and learned tokens are not decayed. With `layer_decay` d below 1, block
    i of n learns at d ** (n - i) of the rate, the embedding at d ** (n + 1), the last norm and the head at all of it
    (BEiT; counted from 0). Frozen parameters are left out.
    """
    rate = settings.rate_for(batch)
    depth = model.settings.dimensions.depth
    groups: dict[tuple[bool, int], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        table = name.endswith(("_table", "class_token", "pooling.query"))
        decayed = settings.decay_all or (parameter.ndim > 1 and not table)
        layer = _layer(name, depth) if settings.layer_decay < 1 else depth + 1
        group = groups.setdefault(
            (decayed, layer),
            {
                "params": [],
                "lr": rate * settings.layer_decay ** (depth + 1 - layer),
                "weight_decay": settings.weight_decay if decayed else 0.0,
            },
        )
        group["params"].append(parameter)
    if settings.name == "sgd":
        return SGD(groups.values(), rate, settings.momentum, nesterov=settings.momentum > 0, fused=fused or None)
    return AdamW(groups.values(), rate, settings.betas, fused=fused or None)


def _layer(name: str, depth: int) -> int:
    """0 for the embedding, 1 to depth for the blocks, depth + 1 for what follows them."""
    if name.startswith("embedding."):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else depth + 1


def make_schedule(optimizer: TorchOptimizer, settings: Optimizer, steps_per_epoch: float, epochs: int) -> LRScheduler:
    """The learning rate of every optimiser step: linear warm-up, then steps, a cosine to zero, or nothing."""
    total = round(steps_per_epoch * epochs)
    warmup = round(steps_per_epoch * settings.warmup_epochs)
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
