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
OPAQUE = 0.8  # the strongest heat over a frame
GREY = 0.75  # how much of a frame's colour goes, so that the heat's are read
UNSEEN = 0.35  # brightness of what is outside of all crops


class Scale(NamedTuple):
    """What colours mean: the values of the map at the cold and the hot end, in `unit`s, and what one of them is."""

    low: float
    high: float
    unit: float
    label: str

    def heat(self, map_NHW: Tensor) -> Tensor:
        """0 to 1, at the ends of the scale and beyond them."""
        span = max(self.high - self.low, 1e-12) * self.unit
        return ((map_NHW - self.low * self.unit) / span).clamp(0, 1)


def scale_of(explanation: Explanation) -> Scale:
    """Of rollout and relevance from what an even map would have to the highest value, in times the even one; of
    occlusion from nothing to the highest fall."""
    highest = float(explanation.map_NHW.max())
    if explanation.settings.method == "occlusion":
        return Scale(0.0, max(highest, 1e-12), 1.0, "fall of the log score")
    even = 1 / (len(explanation.frames) * int(explanation.covered_HW.sum()))
    return Scale(1.0, max(highest / even, 1.001), even, "times an even map")


def blend(frames_NHW3: NDArray[np.uint8], heat_NHW: Tensor, covered_HW: Tensor) -> NDArray[np.uint8]:
    """Frames in pale colours under the heat, which hides the more the hotter it is; dark where no crop lies."""
    frames = torch.from_numpy(frames_NHW3).float() / 255
    grey = frames @ torch.tensor([0.299, 0.587, 0.114])
    pale = frames + GREY * (grey[..., None] - frames)
    pale = pale * torch.where(covered_HW, 1.0, UNSEEN)[..., None]
    hot = torch.from_numpy(COLOURS(heat_NHW.numpy())[..., :3]).float()
    opacity = OPAQUE * heat_NHW.sqrt()[..., None]
    return ((pale + opacity * (hot - pale)) * 255).round().to(torch.uint8).numpy()
