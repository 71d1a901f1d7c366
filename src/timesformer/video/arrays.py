"""Frames that are in memory already: arrays, tensors, lists of images. Read as a video."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from torch import Tensor

from timesformer.errors import SettingError
from timesformer.video.video import Video

ALLOWED = (
    "expected a uint8 array (T, H, W, 3), a uint8 tensor (3, T, H, W), or a list of PIL images or of uint8 arrays "
    "(H, W, 3)"
)

Images = NDArray[np.uint8] | Tensor | Sequence[Any]  # of PIL's images, which this package does not need


class ArrayVideo(Video):
    """RGB frames in memory, shown as they are; nothing is copied. See `Video`.

    images: a uint8 numpy array (T, H, W, 3), a uint8 torch tensor (3, T, H, W), or a list or tuple of PIL images (any
    mode, converted to RGB) or of uint8 arrays (H, W, 3).
    fps: their frame rate, where known.

    Raises SettingError for any other shape or type, for no frames, and for a frame rate that is not above 0.
    """

    codec = "raw"

    def __init__(self, images: Images, fps: float | None = None) -> None:
        if fps is not None and not 0 < fps < math.inf:
            raise SettingError(f"fps is {fps}; expected frames a second, above 0")
        self.fps = fps
        self._images: Sequence[Any] | NDArray[np.uint8]
        if isinstance(images, Tensor):
            _check(images, "tensor", (3, None, None, None))
            self._images = images.detach().cpu().permute(1, 2, 3, 0).numpy()
            self.name = f"<tensor {_sizes(images)}>"
        elif isinstance(images, np.ndarray):
            _check(images, "array", (None, None, None, 3))
            self._images = images
            self.name = f"<array {_sizes(images)}>"
        else:
            if not len(images):
                raise SettingError(f"video: an empty list; {ALLOWED}")
            for image in images:
                if isinstance(image, np.ndarray):
                    _check(image, "list of arrays", (None, None, 3))
                elif not hasattr(image, "convert"):
                    raise SettingError(f"video: a list of {type(image).__name__}; {ALLOWED}")
            self._images = images
            self.name = f"<list of {len(images)} images>"
        self.num_frames = len(self._images)

    def _chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        for number in numbers:
            image = self._images[number]
            if not isinstance(image, np.ndarray):
                image = np.asarray(image.convert("RGB"))
            yield number, VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")


def _check(images: Tensor | NDArray[Any], kind: str, shape: tuple[int | None, ...]) -> None:
    """Raise an error for images of another type or shape (None in `shape` is any size), or without pixels."""
    dtype = str(images.dtype).removeprefix("torch.")
    fits = len(shape) == images.ndim and all(
        wanted in (None, size) for size, wanted in zip(images.shape, shape, strict=True)
    )
    if dtype != "uint8" or not fits:
        raise SettingError(f"video: {kind} of {dtype}, shape {tuple(images.shape)}; {ALLOWED}")
    if 0 in images.shape:
        raise SettingError(
            f"video: {kind} of shape {tuple(images.shape)}; expected at least one frame, and pixels in it"
        )


def _sizes(images: Tensor | NDArray[Any]) -> str:
    return " x ".join(map(str, images.shape))
