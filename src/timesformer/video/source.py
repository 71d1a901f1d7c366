"""Where frames come from: a video file or a folder of images, both read by frame number."""

from __future__ import annotations

from pathlib import Path

from timesformer.errors import VideoError
from timesformer.video.decode import VideoFile
from timesformer.video.images import FrameFolder

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv")
)

Video = VideoFile | FrameFolder


def open_video(path: str | Path) -> Video:
    """A video file, or a folder of image frames in the order of their numbered names.

    Raises VideoError: nothing there, not a video, no frames, truncated. Use it with `with`.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return FrameFolder(path)
        if not path.is_file():
            raise VideoError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise VideoError(f"{path}: the file is empty")
        return VideoFile(path)
    except OSError as error:
        raise VideoError(f"{path}: cannot be read: {error.strerror}") from None
