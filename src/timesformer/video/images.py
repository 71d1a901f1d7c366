"""A folder of image frames, read as a video."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
from av.video.frame import VideoFrame

from timesformer.errors import VideoError
from timesformer.video.container import open_container, why
from timesformer.video.video import Video

IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".webp"))


class FrameFolder(Video):
    """A folder of image frames, ordered by the numbers in their names; its frame rate is unknown. See `Video`.

    Raises VideoError for a folder without images.
    """

    fps = None
    codec = "images"

    def __init__(self, path: Path) -> None:
        self.name = path
        files = (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != ".")
        self._files = sorted(files, key=_by_number)
        self.num_frames = len(self._files)
        if not self._files:
            raise VideoError(path, f"the folder holds no image frames ({', '.join(sorted(IMAGE_SUFFIXES))})")

    def _chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        for number in numbers:
            try:
                frame = _read_image(self._files[number])
            except VideoError as error:
                raise VideoError(self.name, f"{self._files[number].name}: {error.reason}") from None
            yield number, frame


def _read_image(path: Path) -> VideoFrame:
    with open_container(path, path) as container:
        try:
            # By default half a JPEG is a picture that is half grey.
            container.streams.video[0].codec_context.options = {"err_detect": "explode"}
            return next(container.decode(video=0))
        except (av.FFmpegError, StopIteration, IndexError) as error:
            reason = why(error) if isinstance(error, av.FFmpegError) else "no picture in it"
            raise VideoError(path, f"not an image that can be read: {reason}") from None


def _by_number(file: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorting key under which frame_2 comes before frame_10."""
    return [(int(digits or -1), text) for digits, text in re.findall(r"(\d+)|(\D+)", file.name)], file.name
