"""An attentive head: a learned query attends to all tokens of a clip, and a linear layer classifies what it gathers.

That is not convex: one is trained for each of several learning rates, all at once, by AdamW. Its rate falls along half
a cosine, and the last epoch counts.

Dimensions: N clips, M tokens, D channels, K classes.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW

from timesformer.features.extract import Features
from timesformer.model.pooling import AttentivePooling

AT_ONCE = 32  # clips whose tokens are in float32 at a time


@dataclass(frozen=True, eq=False)
class AttentiveHead:
    """values: peak learning rates. pooling, linear: the head as it is initialised. seed: of the order of the clips."""

    pooling: AttentivePooling
    linear: nn.Linear
    values: tuple[float, ...]
    epochs: int
    batch_size: int
    weight_decay: float
    seed: int
    name: ClassVar[str] = "attentive"
    setting: ClassVar[str] = "learning rate"

    def fit(self, training: Features) -> list[nn.ModuleList]:
        """Pooling and linear layer for each learning rate."""
        tokens, labels, clips = _tokens(training), training.labels_N, len(training)
        heads = [nn.ModuleList(copy.deepcopy([self.pooling, self.linear])) for _ in self.values]
        groups = [
            {"params": list(head.parameters()), "lr": rate} for head, rate in zip(heads, self.values, strict=True)
        ]
        optimizer = AdamW(groups, weight_decay=self.weight_decay)
        steps = self.epochs * -(-clips // self.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
        for epoch in range(self.epochs):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            for rows in torch.randperm(clips, generator=generator).split(self.batch_size):
                batch = tokens[rows].float()
                losses = [F.cross_entropy(_logits(head, batch), labels[rows]) for head in heads]
                optimizer.zero_grad()
                torch.stack(losses).sum().backward()
                optimizer.step()
                schedule.step()
        return heads

    def logits(self, fitted: nn.ModuleList, features: Features) -> Tensor:
        """Logits (N, K)."""
        with torch.no_grad():
            return torch.cat([_logits(fitted, part.float()) for part in _tokens(features).split(AT_ONCE)])


def _tokens(features: Features) -> Tensor:
    assert features.tokens is not None
    return features.tokens


def _logits(head: nn.ModuleList, tokens_NMD: Tensor) -> Tensor:
    pooling, linear = head
    assert isinstance(pooling, AttentivePooling)
    logits_NK: Tensor = linear(pooling.gather(tokens_NMD))
    return logits_NK
