"""The parts of a ResNet of bottleneck blocks, with kernels in time: what I3D, SlowFast and TSM are made of.

Dimensions: B batch, C channels, T frames, H and W pixels or positions of a feature map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.baselines.convolution import ConvNorm
from timesformer.config.baselines import Depths


class Stem(ConvNorm):
    """7 x 7 pixels and `frames` frames, then the largest of 3 x 3: a quarter of height and width."""

    def __init__(self, width: int, frames: int) -> None:
        super().__init__(3, width, (frames, 7, 7), stride=2)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return F.max_pool3d(F.relu(super().forward(x_BCTHW)), (1, 3, 3), (1, 2, 2), (0, 1, 1))


class Bottleneck(nn.Module):
    """A residual block: `frames` frames to fewer channels, 3 x 3 positions, to more channels.

    shift: one of so many channels moves a frame ahead before the first convolution, as many a frame back; 0 for none.
    """

    def __init__(self, inputs: int, inner: int, outputs: int, frames: int, stride: int, shift: int = 0) -> None:
        super().__init__()
        self.shift = shift
        self.a = ConvNorm(inputs, inner, (frames, 1, 1))
        self.b = ConvNorm(inner, inner, (1, 3, 3), stride)
        self.c = ConvNorm(inner, outputs)
        self.shortcut = ConvNorm(inputs, outputs, stride=stride) if inputs != outputs or stride > 1 else None

    @property
    def closing_norm(self) -> nn.Module:
        """The norm whose results are added to the shortcut."""
        return self.c.norm

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        short_BCTHW = x_BCTHW if self.shortcut is None else self.shortcut(x_BCTHW)
        if self.shift:
            x_BCTHW = shift_channels(x_BCTHW, x_BCTHW.shape[1] // self.shift)
        x_BCTHW = F.relu(self.b(F.relu(self.a(x_BCTHW))))
        return F.relu(self.c(x_BCTHW) + short_BCTHW)


def shift_channels(x_BCTHW: Tensor, channels: int) -> Tensor:
    """The first `channels` channels of every frame are those of the next frame, the next as many those of the frame
    before, and zero where there is none."""
    ahead, back, rest = x_BCTHW.split([channels, channels, x_BCTHW.shape[1] - 2 * channels], 1)
    return torch.cat([F.pad(ahead[:, :, 1:], (0, 0, 0, 0, 0, 1)), F.pad(back[:, :, :-1], (0, 0, 0, 0, 1, 0)), rest], 1)


def make_blocks(
    width: int,
    depths: Depths,
    frames: Sequence[Sequence[int]],
    *,
    shift: int = 0,
    lateral: Callable[[int], int] = lambda channels: 0,
) -> list[Bottleneck]:
    """The blocks of the four stages, the first of each but the first stage at half the size.

    frames: what the first convolution of a stage's blocks looks at, in turn. lateral: how many channels a stage takes
    beside those of the stage before, of which it is given the number.
    """
    blocks, channels = [], width
    for stage, (depth, turns) in enumerate(zip(depths, frames, strict=True)):
        inner = width * 2**stage
        for number in range(depth):
            first = number == 0
            inputs = channels + (lateral(channels) if first else 0)
            stride = 2 if first and stage else 1
            blocks.append(Bottleneck(inputs, inner, 4 * inner, turns[number % len(turns)], stride, shift))
            channels = 4 * inner
    return blocks


def stage_of(depths: Depths) -> list[tuple[int, int]]:
    """Stage, and number in it, of every block."""
    return [(stage, number) for stage, depth in enumerate(depths) for number in range(depth)]
