"""TSM: an image ResNet that sees time by moving channels to the neighbouring frames, which costs no multiplication
(Lin, Gan, Han, ICCV 2019; the residual shift of an eighth each way)."""

from __future__ import annotations

from timesformer.baselines.convolution import ConvNet
from timesformer.baselines.resnet import Stem, make_blocks
from timesformer.config import TSMSettings


class TSM(ConvNet):
    """TSM of bottleneck blocks."""

    settings: TSMSettings

    def __init__(self, settings: TSMSettings) -> None:
        blocks = make_blocks(settings.width, settings.depths, ((1,),) * 4, shift=settings.shift)
        super().__init__(settings, Stem(settings.width, 1), blocks, 32 * settings.width)
