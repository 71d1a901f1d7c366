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

    short_side: pixels that the short side is scaled to; None keeps the size. resizes: whether a frame of another size
    or rotation than the first one is resized to the size that the first one gets; otherwise it is an error.

    Attributes: `resized`, how many frames were.
    """

    def __init__(self, name: Path | str, short_side: int | None, resizes: bool) -> None:
        self.name, self.short_side, self.resizes = name, short_side, resizes
        self.resized = 0
        self.reformatter = VideoReformatter()
        self._first: tuple[int, ...] | None = None  # how the first frame is stored: height, width, placement
        self._size = 0, 0  # of the images

    def start(self, frame: VideoFrame) -> None:
        """Take the size of a frame for that of all."""
        self._first = (frame.height, frame.width, *_placement(frame))
        height, width = scaled_size(frame.height, frame.width, self.short_side)
        self._size = (width, height) if self._first[2] else (height, width)

    def __call__(self, number: int, frame: VideoFrame) -> Tensor:
        """A frame as uint8 (H, W, 3). Raises VideoError where its size or rotation is not that of the first one."""
        if abs(frame.rotation - 90 * round(frame.rotation / 90)) > 1:
            raise VideoError(self.name, f"rotated by {frame.rotation} degrees; only multiples of 90 are supported")
        if self._first is None:
            self.start(frame)
        assert self._first is not None
        swapped, *mirrored = placement = _placement(frame)
        if (frame.height, frame.width, *placement) != self._first:
            if not self.resizes:
                raise VideoError(
                    self.name,
                    f"frame {number} is {frame.width}x{frame.height}; its size or rotation does not match the frames "
                    f"before it, {self._first[1]}x{self._first[0]}",
                )
            self.resized += 1
        height, width = reversed(self._size) if swapped else self._size
        rgb = self.reformatter.reformat(frame, width, height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1)
        image_HWC = torch.from_numpy(rgb.to_ndarray())
        if any(placement):
            image_HWC = image_HWC.transpose(0, 1) if swapped else image_HWC
            image_HWC = image_HWC.flip([axis for axis in (0, 1) if mirrored[axis]])
        return image_HWC


class ClipWriter:
    """Writes decoded frames to their positions in one uint8 RGB tensor `clip` (3, T, H, W).

    numbers: the frame of each position, out of `num_frames`; one frame may have several positions.
    convert: what makes images of them. Raises IndexError for a number that is out of range.
    """

    def __init__(self, convert: Converter, num_frames: int, numbers: Sequence[int]) -> None:
        if not numbers or not 0 <= min(numbers) <= max(numbers) < num_frames:
            raise IndexError(f"{convert.name}: frames {list(numbers)} of a video of {num_frames} frames")
        self.convert = convert
        self.length = len(numbers)
        self.positions: dict[int, list[int]] = {}
        for position, number in enumerate(numbers):
            self.positions.setdefault(number, []).append(position)
        self.clip: Tensor | None = None

    def write(self, number: int, frame: VideoFrame) -> None:
        """Convert a frame and write it to its positions."""
        image_HWC = self.convert(number, frame)
        if self.clip is None:
            self.clip = torch.empty((3, self.length, *image_HWC.shape[:2]), dtype=torch.uint8)
        for position in self.positions[number]:
            self.clip[:, position] = image_HWC.permute(2, 0, 1)


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
