"""X3D: a small image network, expanded along one axis after the other (Feichtenhofer, CVPR 2020).

Blocks widen, convolve each channel by itself over 3 frames and 3 x 3 positions, and narrow again; every second one
weighs its channels by what they are over the whole clip (squeeze and excitation). No frame is skipped or pooled on the
way. X3D-S and X3D-M are one network for clips of two sizes.

Dimensions: B batch, C channels, T frames, H and W pixels or positions of a feature map, D channels that the head sees.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.baselines.convolution import ConvNet, ConvNorm, initialise, window_means
from timesformer.config.baselines import X3D_WIDTHS, X3DSettings

SQUEEZE = 0.0625  # channels that weigh the channels, as a fraction of these
MULTIPLE = 8  # widths are rounded to multiples of it


class X3DStem(nn.Module):
    """3 x 3 pixels, then 5 frames of each channel by itself: half of height and width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.space = ConvNorm(3, width, (1, 3, 3), stride=2, norm=False)
        self.time = ConvNorm(width, width, (5, 1, 1), groups=width)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return F.relu(self.time(self.space(x_BCTHW)))


class Excitation(nn.Module):
    """Channels weighted by what the means of all channels say (Hu et al., CVPR 2018)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = rounded_width(width, SQUEEZE)
        self.squeeze, self.excite = nn.Conv3d(width, inner, 1), nn.Conv3d(inner, width, 1)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        means = x_BCTHW.mean((2, 3, 4), keepdim=True)
        return x_BCTHW * torch.sigmoid(self.excite(F.relu(self.squeeze(means))))


class X3DBlock(nn.Module):
    """A residual block. norms: whether its shortcut has a norm where it changes the size alone."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int, *, excited: bool, norms: bool) -> None:
        super().__init__()
        self.a = ConvNorm(inputs, inner)
        self.b = ConvNorm(inner, inner, (3, 3, 3), stride, groups=inner)
        self.excitation = Excitation(inner) if excited else None
        self.c = ConvNorm(inner, outputs)
        self.shortcut = None
        if inputs != outputs or stride > 1:
            self.shortcut = ConvNorm(inputs, outputs, stride=stride, norm=norms or inputs != outputs)

    @property
    def closing_norm(self) -> nn.Module:
        """The norm whose results are added to the shortcut."""
        return self.c.norm

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        short_BCTHW = x_BCTHW if self.shortcut is None else self.shortcut(x_BCTHW)
        x_BCTHW = self.b(F.relu(self.a(x_BCTHW)))
        if self.excitation is not None:
            x_BCTHW = self.excitation(x_BCTHW)
        return F.relu(self.c(F.silu(x_BCTHW)) + short_BCTHW)


class X3D(ConvNet):
    """X3D: stem, blocks, the last feature map widened, its mean widened again, and a linear head."""

    settings: X3DSettings

    def __init__(self, settings: X3DSettings) -> None:
        stem, *widths = (rounded_width(width, settings.width_factor) for width in X3D_WIDTHS)
        blocks, channels = [], stem
        for width, depth in zip(widths, settings.depths, strict=True):
            for number in range(depth):
                inner, stride = int(settings.bottleneck_factor * width), 1 if number else 2
                norms = settings.shortcut_norms == "all"
                blocks.append(X3DBlock(channels, inner, width, stride, excited=number % 2 == 0, norms=norms))
                channels = width
        super().__init__(settings, X3DStem(stem), blocks, settings.head_width)
        inner = int(settings.bottleneck_factor * channels)
        self.last = ConvNorm(channels, inner)
        self.widen = nn.Conv3d(inner, settings.head_width, 1, bias=False)
        initialise(self)

    def encode(self, x_BCTHW: Tensor) -> Tensor:
        """The last feature map of clips, widened."""
        return F.relu(self.last(super().encode(x_BCTHW)))

    def pool(self, x_BCTHW: Tensor) -> Tensor:
        """The means of windows, widened, and their mean: (B, D)."""
        means_BCHW = window_means(x_BCTHW, self.settings.pooling_window)
        return F.relu(self.widen(means_BCHW.unsqueeze(2))).mean((2, 3, 4))


def rounded_width(width: int, factor: float) -> int:
    """The multiple of 8 that is nearest to width x factor, and no less than nine tenths of it; at least 8."""
    wanted = width * factor
    found = max(MULTIPLE, int(wanted + MULTIPLE / 2) // MULTIPLE * MULTIPLE)
    return found + MULTIPLE if found < 0.9 * wanted else found
