"""SlowFast: a pathway of many channels that sees few frames, and one of few channels that sees all (Feichtenhofer, Fan,
Malik, He, ICCV 2019). Both are made from one clip, so whatever reads clips knows nothing of it.

    clip, 32 frames --+-- fast: all frames, an eighth of the channels --------+------------------+--> mean --+
                      |                                                       | lateral (x 4)    |           +-> head
                      +-- slow: 8 of them, evenly from first to last ---------v--- stage --------v--> mean --+

After the stem and each stage but the last, a convolution over time takes the fast pathway's feature map to
the slow one's frames.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.baselines.convolution import ConvNet, ConvNorm
from timesformer.baselines.resnet import Stem, make_blocks, stage_of
from timesformer.config import SlowFastSettings

SLOW, FAST = ((1,), (1,), (3,), (3,)), ((3,),) * 4
LATERAL = 2  # channels that a lateral connection gives, as a multiple of the fast pathway's


class TwoPathways(nn.Module):
    """A part of either pathway, and the lateral connection after both, if any."""

    def __init__(self, slow: nn.Module, fast: nn.Module, lateral: ConvNorm | None) -> None:
        super().__init__()
        self.slow, self.fast, self.lateral = slow, fast, lateral

    def forward(self, slow_BCTHW: Tensor, fast_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Both feature maps; the slow pathway's with the lateral channels after its own."""
        slow_BCTHW, fast_BCTHW = self.slow(slow_BCTHW), self.fast(fast_BCTHW)
        if self.lateral is not None:
            slow_BCTHW = torch.cat([slow_BCTHW, F.relu(self.lateral(fast_BCTHW))], 1)
        return slow_BCTHW, fast_BCTHW


class SlowFast(ConvNet):
    """SlowFast of bottleneck blocks; the number of frames is a multiple of alpha. What the head sees are the slow
    pathway's channels, then the fast one's."""

    settings: SlowFastSettings

    def __init__(self, settings: SlowFastSettings) -> None:
        width, depths = settings.width, settings.depths
        fast_width, kernel = width // settings.beta, (settings.fusion_kernel, 1, 1)

        def lateral(channels: int) -> ConvNorm:
            return ConvNorm(channels, LATERAL * channels, kernel, time_stride=settings.alpha)

        slow = make_blocks(width, depths, SLOW, lateral=lambda channels: LATERAL * channels // settings.beta)
        fast = make_blocks(fast_width, depths, FAST)
        blocks = []
        for block, (stage, number) in enumerate(stage_of(depths)):
            ends = number == depths[stage] - 1 and stage < 3
            channels = 4 * fast_width * 2**stage
            blocks.append(TwoPathways(slow[block], fast[block], lateral(channels) if ends else None))
        stem = TwoPathways(Stem(width, 1), Stem(fast_width, 5), lateral(fast_width))
        super().__init__(settings, stem, blocks, 32 * (width + fast_width))

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        """The means of both last feature maps, (B, D). Raises SettingError for clips of another shape or type."""
        self.check(clips_BCTHW)
        slow_BCTHW, fast_BCTHW = self.encode_pathways(clips_BCTHW)
        return torch.cat([self.pool(slow_BCTHW), self.pool(fast_BCTHW)], 1)

    def encode_pathways(self, clips_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """The last feature maps of the slow pathway and the fast one."""
        pathways = clips_BCTHW[:, :, slow_frames(clips_BCTHW.shape[2], self.settings.alpha)], clips_BCTHW
        for part in (self.stem, *self.blocks()):
            pathways = part(*pathways)
        return pathways


def slow_frames(frames: int, alpha: int) -> list[int]:
    """Which frames of a clip the slow pathway sees: an alpha-th of them, from the first to the last, rounded down, as
    the authors' code has it."""
    number = frames // alpha
    return [index * (frames - 1) // max(number - 1, 1) for index in range(number)]
