"""A map as colours over the frames of a video.

Dimensions: N frames, H and W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from numpy.typing import NDArray
from torch import Tensor

from timesformer.explain.explainer import Explanation

COLOURS = colormaps["inferno"]  # perceptually uniform, and in order without colour too
SIGNED = colormaps["RdBu_r"]  # blue below zero, red above it
OPAQUE = 0.8  # the strongest heat over a frame
GREY = 0.75  # how much of a frame's colour goes, so that the heat's are read
UNSEEN = 0.35  # brightness of what is outside of all crops


class Scale(NamedTuple):
    """What colours mean: the values of the map at the cold and the hot end, in `unit`s, and what one of them is.
    signed: the ends are opposite values, and what is between them is nothing."""

    low: float
    high: float
    unit: float
    label: str
    signed: bool = False

    def heat(self, map_NHW: Tensor) -> Tensor:
        """0 to 1, at the ends of the scale and beyond them."""
        span = max(self.high - self.low, 1e-12) * self.unit
        return ((map_NHW - self.low * self.unit) / span).clamp(0, 1)


def scale_of(explanation: Explanation) -> Scale:
    """Of rollout and relevance from what an even map would have to the highest value, in times the even one; of
    occlusion, below zero where the score rises without a part, to the largest change on both sides."""
    if explanation.settings.method == "occlusion":
        largest = max(float(explanation.map_NHW.abs().max()), 1e-12)
        return Scale(-largest, largest, 1.0, "fall of the log score", signed=True)
    highest = float(explanation.map_NHW.max())
    even = 1 / (len(explanation.frames) * int(explanation.covered_HW.sum()))
    return Scale(1.0, max(highest / even, 1.001), even, "times an even map")


def blend(
    frames_NHW3: NDArray[np.uint8], heat_NHW: Tensor, covered_HW: Tensor, *, signed: bool = False
) -> NDArray[np.uint8]:
    """Frames in pale colours under the heat, which hides the more the hotter it is, or, of a signed scale, the further
    from its middle; dark where no crop lies."""
    frames = torch.from_numpy(frames_NHW3).float() / 255
    grey = frames @ torch.tensor([0.299, 0.587, 0.114])
    pale = frames + GREY * (grey[..., None] - frames)
    pale = pale * torch.where(covered_HW, 1.0, UNSEEN)[..., None]
    hot = torch.from_numpy((SIGNED if signed else COLOURS)(heat_NHW.numpy())[..., :3]).float()
    opacity = OPAQUE * ((2 * heat_NHW - 1).abs() if signed else heat_NHW).sqrt()[..., None]
    return ((pale + opacity * (hot - pale)) * 255).round().to(torch.uint8).numpy()
