"""Frames become a video file."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
from torch import Tensor

from timesformer.errors import SettingError


def write_video(path: str | Path, clip_CTHW: Tensor, fps: float, crf: int = 18) -> None:
    """Write uint8 RGB frames (3, T, H, W) as h264; H and W must be even.

    The file appears under its name only when it is complete. Raises SettingError for an odd size.
    """
    path = Path(path)
    height, width = clip_CTHW.shape[2:]
    if height % 2 or width % 2:
        raise SettingError(f"{path}: frames of {height} x {width} pixels; h264 takes even sizes")
    frames_THWC = clip_CTHW.permute(1, 2, 3, 0).contiguous().numpy()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.height, stream.width = height, width
            stream.pix_fmt = "yuv420p"
            # x264's macroblock tree gives other bits from one call to the next for frames as small as the demo's.
            stream.options = {"crf": str(crf), "preset": "veryfast", "mbtree": "0"}
            stream.codec_context.thread_count = 1
            for frame in frames_THWC:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
