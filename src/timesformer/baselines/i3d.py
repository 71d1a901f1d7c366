"""I3D: an image ResNet whose kernels are inflated over time (Carreira and Zisserman, CVPR 2017).

The variant of "Non-local Neural Networks" (Wang et al., CVPR 2018) that PyTorchVideo's zoo publishes: kernels over 5
frames in the stem, over 3 in the blocks below, and pairs of frames pooled after the first stage.

    stage              1          2          3              4
    frames of kernels  3 3 3      3 1 3 1    3 1 3 1 3 1    1 3 1
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from timesformer.baselines.convolution import ConvNet
from timesformer.baselines.resnet import Stem, make_blocks
from timesformer.config import I3DSettings

FRAMES = ((3,), (3, 1), (3, 1), (1, 3))


class I3D(ConvNet):
    """I3D of bottleneck blocks; its clips have an even number of frames."""

    settings: I3DSettings

    def __init__(self, settings: I3DSettings) -> None:
        blocks = make_blocks(settings.width, settings.depths, FRAMES)
        super().__init__(settings, Stem(settings.width, 5), blocks, 32 * settings.width)

    def encode(self, x_BCTHW: Tensor) -> Tensor:
        """The last feature map of clips, with half of their frames."""
        x_BCTHW = self.stem(x_BCTHW)
        for number, block in enumerate(self.blocks()):
            if number == self.settings.depths[0]:
                x_BCTHW = F.max_pool3d(x_BCTHW, (2, 1, 1), (2, 1, 1))
            x_BCTHW = block(x_BCTHW)
        return x_BCTHW
