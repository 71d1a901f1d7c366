"""Averaged weights (exponential moving average), which are the result of a run that has them."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from timesformer.model.protocol import VideoModel


class AveragedModel(nn.Module):
    """A copy of a model that follows it: after n steps, averaged = d averaged + (1 - d) model, d = min(decay,
    (1 + n) / (10 + n)), so that it forgets the first steps sooner.

    As torch's `AveragedModel`, with the same names in a checkpoint, but a step never waits for a GPU. Frozen tensors
    are the model's own, not copies.
    """

    n_averaged: Tensor

    def __init__(self, model: VideoModel, decay: float) -> None:
        super().__init__()
        frozen = {id(tensor): tensor for tensor in model.parameters() if not tensor.requires_grad}
        self.module = copy.deepcopy(model, frozen).requires_grad_(False)
        self.decay = decay
        self.register_buffer("n_averaged", torch.tensor(0))
        self.steps: int | None = None  # n_averaged on the host; not known before the first step of a resumed run

    @torch.no_grad()
    def update(self, model: VideoModel) -> None:
        """Follow the model after an optimiser step."""
        n = int(self.n_averaged) if self.steps is None else self.steps
        pairs = zip(self.module.parameters(), model.parameters(), strict=True)
        averaged, current = map(list, zip(*((own, given) for own, given in pairs if given.requires_grad), strict=True))
        if n == 0:
            torch._foreach_copy_(averaged, current)
        else:
            torch._foreach_lerp_(averaged, current, 1 - min(self.decay, (1 + n) / (10 + n)))
        for own, given in zip(self.module.buffers(), model.buffers(), strict=True):
            own.copy_(given)
        self.steps = n + 1
        self.n_averaged += 1
