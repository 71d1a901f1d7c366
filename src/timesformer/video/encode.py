"""Frames become a video file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
from torch import Tensor

from timesformer.errors import SettingError
from timesformer.files import replacing


def write_video(path: str | Path, clip_CTHW: Tensor, fps: float, crf: int = 18) -> None:
    """Write uint8 RGB frames (3, T, H, W) as h264 in MP4, `fps` frames a second; H and W must be even.

    crf: quality, from 0 (lossless) to 51.

    The file appears under its name only when it is complete. Raises SettingError for an odd size.
    """
    path = Path(path)
    height, width = clip_CTHW.shape[2:]
    if height % 2 or width % 2:
        raise SettingError(f"{path}: frames of {height} x {width} pixels; expected even sizes, as h264 does")
    frames_THWC = clip_CTHW.permute(1, 2, 3, 0).contiguous().numpy()
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuv420p"
        # x264's macroblock tree gives other bits from one call to the next for frames as small as the demo's.
        stream.options = {"crf": str(crf), "preset": "veryfast", "mbtree": "0"}
        stream.codec_context.thread_count = 1
        for frame in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
