"""How an engine's logits compare with those of the model in plain float32.

Dimensions: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from timesformer.config import ClipShape
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import Classifier

# What an engine's logits may differ by from the model's: fp32, the largest difference as a fraction of the largest
# logit (of 1 where all are smaller); the others, as a fraction of the spread of the logits (see Agreement).
LIMITS = {"fp32": 1e-4, "bf16": 0.05, "fp16": 0.05, "int8": 0.2}


class Agreement(NamedTuple):
    """How an engine's logits compare with the float32 model's on the same clips.

    largest   largest difference of a logit
    relative  root mean square of the differences over that of the logits around their mean of a clip
    top1      fraction of clips with the same best class
    clips     number of clips
    value     what the precision's limit holds for
    """

    largest: float
    relative: float
    top1: float
    clips: int
    value: float

    @classmethod
    def between(cls, logits_BK: Tensor, reference_BK: Tensor, precision: str) -> Agreement:
        """Compare logits with those of the float32 model."""
        difference = logits_BK - reference_BK
        centred = reference_BK - reference_BK.mean(1, keepdim=True) if reference_BK.shape[1] > 1 else reference_BK
        largest = float(difference.abs().max())
        # Logits that are all but equal have no spread to compare with; a hundredth of their size stands for it.
        spread = max(_rms(centred), 0.01 * _rms(reference_BK), 1e-12)
        relative = _rms(difference) / spread
        top1 = float((logits_BK.argmax(1) == reference_BK.argmax(1)).float().mean())
        value = largest / max(1.0, float(reference_BK.abs().max())) if precision == "fp32" else relative
        return cls(largest, relative, top1, len(logits_BK), value)

    def __str__(self) -> str:
        return (
            f"logits within {self.largest:.1e} of float32's ({self.relative:.1e} of their spread), same best class "
            f"in {self.top1:.0%} of {self.clips} clip{'s'[: self.clips != 1]}"
        )


def synthetic_clip(shape: ClipShape, seed: int = 0) -> Tensor:
    """A clip of smooth, drifting colours with a little noise: (1, 3, T, S, S), uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 2 + shape.frames // 4, 5, 5, generator=generator)
    smooth = F.interpolate(coarse, size=(shape.frames, shape.side, shape.side), mode="trilinear")
    noise = torch.randn(smooth.shape, generator=generator)
    return (smooth * 255 + 8 * noise).clamp(0, 255).to(torch.uint8)


def reference_logits(classifier: Classifier, clips: Tensor, device: torch.device, forget: Callable[[], None]) -> Tensor:
    """Logits of the model itself in float32, which stays as it is. `forget` is called after each block."""
    model = classifier.model
    training, home, dtype = model.training, next(model.parameters()).device, next(model.parameters()).dtype
    hooks = [block.register_forward_hook(lambda *_: forget()) for block in model.blocks()]
    try:
        model.eval().float().to(device)
        # In true float32 on a GPU too, whose convolutions are in TF32 otherwise.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            views = (normalise(clip.to(device), classifier.preprocessing) for clip in clips.split(1))
            return torch.cat([model(view) for view in views]).cpu()
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training).to(home, dtype)


def _rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())
