"""Optimiser and learning-rate schedule of a recipe."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import SGD, AdamW
from torch.optim import Optimizer as TorchOptimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from timesformer.config import Optimizer

WARMUP_START = 0.01


def make_optimizer(model: nn.Module, settings: Optimizer) -> TorchOptimizer:
    """SGD with Nesterov momentum or AdamW. With `decay_all` off, norms, biases and tables are not decayed."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        table = name.endswith(("_table", "class_token"))
        (decayed if settings.decay_all or (parameter.ndim > 1 and not table) else free).append(parameter)
    groups: list[dict[str, Any]] = [{"params": decayed}]
    if free:
        groups.append({"params": free, "weight_decay": 0.0})
    if settings.name == "sgd":
        return SGD(groups, settings.learning_rate, settings.momentum, nesterov=settings.momentum > 0,
                   weight_decay=settings.weight_decay)  # fmt: skip
    return AdamW(groups, settings.learning_rate, settings.betas, weight_decay=settings.weight_decay)


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
