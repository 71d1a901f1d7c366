"""Frames become a video file."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
import torch
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray
from torch import Tensor

from timesformer.errors import SettingError
from timesformer.files import replacing
from timesformer.video.video import Frame

TICKS = 90_000  # a second, in which time stamps are written


def write_video(path: str | Path, clip_CTHW: Tensor, fps: float, crf: int = 18) -> None:
    """Write uint8 RGB frames (3, T, H, W) as h264 in MP4, `fps` frames a second; H and W must be even.

    crf: quality, from 0 (lossless) to 51.

    The file appears under its name only when it is complete. Raises SettingError for an odd size.
    """
    write_images(path, clip_CTHW.permute(1, 2, 3, 0).contiguous().numpy(), fps, crf)


def write_images(path: str | Path, images: Iterable[NDArray[np.uint8]], fps: float, crf: int = 18) -> None:
    """`write_video` of at least one RGB image (H, W, 3), of which no more than a few are kept."""
    path, images = Path(path), iter(images)
    first = next(images)
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise SettingError(f"{path}: frames of {height} x {width} pixels; expected even sizes, as h264 does")
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = _add_stream(container, fps, height, width, crf)
        # x264's macroblock tree gives other bits from one call to the next for frames as small as the demo's.
        stream.options = {**stream.options, "mbtree": "0"}
        stream.codec_context.thread_count = 1
        for image in chain((first,), images):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def write_frames(path: str | Path, frames: Iterable[Frame], fps: float, crf: int = 20) -> None:
    """Write a stream of frames, at least one, as h264 in MP4, each with its own time; all are of one size.

    Memory does not grow with their number. A frame whose height or width is odd, which h264 does not have, gets its
    last row or column twice. fps: about how many frames a second there are. crf: quality, as for `write_video`.

    The file appears under its name only when it is complete.
    """
    images = ((seconds, _even(image)) for seconds, image in frames)
    first = next(images)
    height, width = first[1].shape[1:]
    with replacing(Path(path)) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = _add_stream(container, fps, height, width, crf)
        stream.codec_context.time_base = Fraction(1, TICKS)
        for seconds, image_CHW in chain((first,), images):
            assert seconds is not None
            frame = av.VideoFrame.from_ndarray(image_CHW.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            frame.pts, frame.time_base = round(seconds * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _even(image_CHW: Tensor) -> Tensor:
    for axis in (1, 2):
        if image_CHW.shape[axis] % 2:
            last = image_CHW.narrow(axis, image_CHW.shape[axis] - 1, 1)
            image_CHW = torch.cat((image_CHW, last), axis)
    return image_CHW


def _add_stream(container: OutputContainer, fps: float, height: int, width: int, crf: int) -> VideoStream:
    stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
    stream.height, stream.width = height, width
    stream.pix_fmt = "yuv420p"
    stream.options = {"crf": str(crf), "preset": "veryfast"}
    return stream
