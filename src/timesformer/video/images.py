"""A folder of image frames, read as a video."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import av
from av.video.frame import VideoFrame
from torch import Tensor

from timesformer.errors import VideoError
from timesformer.video.convert import ClipWriter
from timesformer.video.decode import open_container

IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".webp"))


class FrameFolder:
    """A folder of image frames, ordered by the numbers in their names.

    Attributes: `path`; `num_frames`; `fps`, which is None; `codec`, which is "images".
    """

    fps = None
    codec = "images"

    def __init__(self, path: Path) -> None:
        self.path = path
        files = (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != ".")
        self._files = sorted(files, key=_by_number)
        self.num_frames = len(self._files)
        if not self._files:
            raise VideoError(f"{path}: the folder holds no image frames ({', '.join(sorted(IMAGE_SUFFIXES))})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def read(self, numbers: Sequence[int], short_side: int | None = None) -> Tensor:
        """As `VideoFile.read`."""
        writer = ClipWriter(self.path, self.num_frames, numbers, short_side)
        for number in sorted(set(numbers)):
            writer.write(number, _read_image(self._files[number]))
        return writer.clip


def _read_image(path: Path) -> VideoFrame:
    with open_container(path) as container:
        try:
            # By default half a JPEG is a picture that is half grey.
            container.streams.video[0].codec_context.options = {"err_detect": "explode"}
            return next(container.decode(video=0))
        except (av.FFmpegError, StopIteration, IndexError) as error:
            reason = getattr(error, "strerror", None) or "no picture in it"
            raise VideoError(f"{path}: not an image that can be read: {reason}") from None


def _by_number(file: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorting key under which frame_2 comes before frame_10."""
    return [(int(digits or -1), text) for digits, text in re.findall(r"(\d+)|(\D+)", file.name)], file.name
