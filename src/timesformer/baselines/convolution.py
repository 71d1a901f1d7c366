"""What convolutional video networks share: convolution with norm, pooling before the head, initial weights.

Dimensions: B batch, C channels, T frames, H and W pixels or positions of a feature map, D channels of
the last one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.config.baselines import ConvSettings
from timesformer.model.protocol import Blocks, VideoModel, check_normalised, layer_after

Kernel = tuple[int, int, int]


class ConvNorm(nn.Module):
    """A convolution without bias, padded so that a stride of one keeps the size, and a batch norm.

    kernel: frames, height, width. stride: of height and width alone. norm: whether there is one.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Kernel = (1, 1, 1),
        stride: int = 1,
        time_stride: int = 1,
        groups: int = 1,
        *,
        norm: bool = True,
    ) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        strides = (time_stride, stride, stride)
        self.conv = nn.Conv3d(inputs, outputs, kernel, strides, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm3d(outputs) if norm else nn.Identity()

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        out: Tensor = self.norm(self.conv(x_BCTHW))
        return out


class ConvNet(VideoModel):
    """A stem, blocks, the mean of the last feature map, and a linear head."""

    settings: ConvSettings

    def __init__(self, settings: ConvSettings, stem: nn.Module, blocks: Iterable[nn.Module], width: int) -> None:
        """width: channels that the head sees."""
        super().__init__(settings)
        self.stem = stem
        self.blocks = Blocks(blocks)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(width, settings.num_classes)
        initialise(self)

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        """The mean of the last feature map: (B, D). Raises SettingError for clips of another shape or type."""
        self.check(clips_BCTHW)
        return self.pool(self.encode(clips_BCTHW))

    def check(self, clips_BCTHW: Tensor) -> None:
        """Raises SettingError for clips of a shape or type that the network does not take."""
        check_normalised(clips_BCTHW, self.settings.clip_unit, self.settings.frame_unit)

    def encode(self, x_BCTHW: Tensor) -> Tensor:
        """The last feature map of clips."""
        x_BCTHW = self.stem(x_BCTHW)
        for block in self.blocks():
            x_BCTHW = block(x_BCTHW)
        return x_BCTHW

    def pool(self, x_BCTHW: Tensor) -> Tensor:
        """What the head sees of the last feature map: (B, D)."""
        return window_means(x_BCTHW, self.settings.pooling_window).mean((2, 3))

    def forward_head(self, features_BD: Tensor) -> Tensor:
        """Logits (B, num_classes) of features (B, D)."""
        logits: Tensor = self.head(self.dropout(features_BD))
        return logits

    def layer_of(self, name: str) -> int:
        """0 for the stem, 1 to n for the blocks, n + 1 for what follows them."""
        return layer_after(name, "stem", len(self.blocks()))

    def train(self, mode: bool = True) -> Self:
        """As of any module, but a frozen norm keeps its statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d) and not module.weight.requires_grad:
                module.eval()
        return self


def window_means(x_BCTHW: Tensor, window: int | None) -> Tensor:
    """Means over all frames and square windows of that side, one position apart: (B, C, H', W'); where the feature
    map is not larger, or without a window, over all positions: (B, C, 1, 1)."""
    height, width = x_BCTHW.shape[3:]
    x_BCHW = x_BCTHW.mean(2)
    if window is None:
        return x_BCHW.mean((2, 3), keepdim=True)
    return F.avg_pool2d(x_BCHW, (min(window, height), min(window, width)), stride=1)


def initialise(model: nn.Module) -> None:
    """Draw all weights: those of convolutions as He et al. (ICCV 2015) do, by their outputs, of the head at a standard
    deviation of 0.01; what closes a residual branch is zero, so that every block begins as its shortcut."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
            nn.init.trunc_normal_(module.weight, std=math.sqrt(2 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        last: Any = getattr(module, "closing_norm", None)
        if last is not None:
            nn.init.zeros_(last.weight)
