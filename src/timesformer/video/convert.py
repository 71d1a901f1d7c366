"""Decoded frames become images and clips: scaled, converted to RGB, turned upright."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from torch import Tensor

from timesformer.errors import VideoError


class Converter:
    """Makes decoded frames of one video RGB images: scaled, upright, all of one size.

    short_side: pixels that the short side is scaled to; None keeps the size.
    """

    def __init__(self, name: Path | str, short_side: int | None) -> None:
        self.name, self.short_side = name, short_side
        self.reformatter = VideoReformatter()
        self.shown_as: tuple[int, ...] | None = None

    def __call__(self, number: int, frame: VideoFrame) -> Tensor:
        """A frame as uint8 (H, W, 3). Raises VideoError where its size or rotation is not that of the first one."""
        if abs(frame.rotation - 90 * round(frame.rotation / 90)) > 1:
            raise VideoError(self.name, f"rotated by {frame.rotation} degrees; only multiples of 90 are supported")
        swapped, *mirrored = placement = _placement(frame)
        shown_as = (frame.height, frame.width, *placement)
        if self.shown_as is None:
            self.shown_as = shown_as
        elif shown_as != self.shown_as:
            raise VideoError(
                self.name,
                f"frame {number} is {frame.width}x{frame.height}; its size or rotation does not match the frames "
                f"before it, {self.shown_as[1]}x{self.shown_as[0]}",
            )
        height, width = scaled_size(frame.height, frame.width, self.short_side)
        rgb = self.reformatter.reformat(frame, width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1)
        image_HWC = torch.from_numpy(rgb.to_ndarray())
        if any(placement):
            image_HWC = image_HWC.transpose(0, 1) if swapped else image_HWC
            image_HWC = image_HWC.flip([axis for axis in (0, 1) if mirrored[axis]])
        return image_HWC


class ClipWriter:
    """Puts decoded frames in their places of one uint8 RGB tensor `clip` (3, T, H, W).

    numbers: the frame that belongs in each place, out of `num_frames`; one frame may have several places.
    short_side: pixels that the short side is scaled to; None keeps the size. Raises IndexError for a number that is
    out of range.
    """

    def __init__(self, name: Path | str, num_frames: int, numbers: Sequence[int], short_side: int | None) -> None:
        if not numbers or not 0 <= min(numbers) <= max(numbers) < num_frames:
            raise IndexError(f"{name}: frames {list(numbers)} of a video of {num_frames} frames")
        self.convert = Converter(name, short_side)
        self.length = len(numbers)
        self.places: dict[int, list[int]] = {}
        for place, number in enumerate(numbers):
            self.places.setdefault(number, []).append(place)
        self.clip: Tensor | None = None

    def write(self, number: int, frame: VideoFrame) -> None:
        """Convert a frame and put it in its places."""
        image_HWC = self.convert(number, frame)
        if self.clip is None:
            self.clip = torch.empty((3, self.length, *image_HWC.shape[:2]), dtype=torch.uint8)
        for place in self.places[number]:
            self.clip[:, place] = image_HWC.permute(2, 0, 1)


def scaled_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Height and width after scaling the short side; the long side is rounded down."""
    if short_side is None:
        return height, width
    if height <= width:
        return short_side, short_side * width // height
    return short_side * height // width, short_side


def _placement(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """How a frame is shown: with rows and columns swapped; then upside down; then left to right."""
    try:
        side_data: Any = frame.side_data  # PyAV's types name but one kind
    except ValueError:
        # PyAV refuses side data of a kind it does not know (EXIF): then turns alone, counter-clockwise.
        turns = round(frame.rotation / 90) % 4
        return turns % 2 == 1, turns in (1, 2), turns in (2, 3)
    if "DISPLAYMATRIX" not in side_data:
        return False, False, False
    # Where the right and the lower neighbour of a pixel are shown, as steps right and down.
    right_right, right_down, _, down_right, down_down = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32)[:5]
    swapped = bool(abs(right_down) > abs(right_right))
    return swapped, bool((right_down if swapped else down_down) < 0), bool((down_right if swapped else right_right) < 0)
