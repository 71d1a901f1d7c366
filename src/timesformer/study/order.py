"""Clips with their frames in another order, for tests of what a classifier knows of time."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from timesformer.engine.engine import Engine

FrameOrder = Literal["reversed", "shuffled"]


class Reordered(Engine):
    """An engine that gets the frames of every clip backwards, or shuffled: each clip in an order of its own, which is
    the same in every test of the same clips."""

    def __init__(self, engine: Engine, order: FrameOrder) -> None:
        self.__dict__.update(engine.__dict__)
        self.order = order
        self.generator = torch.Generator().manual_seed(0)

    def _call(self, clips_BCTHW: Tensor, layer: int | None, tokens: bool) -> Tensor:
        if self.order == "reversed":
            return super()._call(clips_BCTHW.flip(2), layer, tokens)
        frames = clips_BCTHW.shape[2]
        shuffled = [clip[:, torch.randperm(frames, generator=self.generator).to(clip.device)] for clip in clips_BCTHW]
        return super()._call(torch.stack(shuffled), layer, tokens)
