"""A folder of image frames, read as a video.

The frames are the files of one name pattern, such as img_*.jpg, with * for a number. Of several patterns those are
ignored, as long as any is left, that

    1. have no number,
    2. are optical flow: flow_*, flow_x_*, flow_y_*, x_*, y_*, u_*, v_*,
    3. begin with another word than img, image, frame, rgb or color; a number is no word.

Where more than one is left it is not clear which are the frames: an error.
"""

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
NUMBERED = re.compile(r"\*")
NO_FLOW = re.compile(r"(?!flow[-_]?[xyuv]?(?![a-z])|[xyuv][-_])", re.IGNORECASE)
COLOUR = re.compile(r"(img|image|frame|rgb|colou?r)(?![a-z])|[\W_]", re.IGNORECASE)


class FrameFolder(Video):
    """A folder of image frames, ordered by the numbers in their names; its frame rate is unknown. See `Video`.

    Raises VideoError for a folder without images, and for one whose images follow several name patterns where it is not
    clear which is that of the frames.
    """

    fps = None
    codec = "images"

    def __init__(self, path: Path) -> None:
        self.name = path
        files = (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != ".")
        patterns: dict[str, list[Path]] = {}
        for file in files:
            patterns.setdefault(_pattern(file), []).append(file)
        if not patterns:
            raise VideoError(path, f"the folder holds no image frames ({', '.join(sorted(IMAGE_SUFFIXES))})")
        self._files = sorted(_frames(path, patterns), key=_by_number)
        self.num_frames = len(self._files)

    def _chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        for number in numbers:
            try:
                frame = _read_image(self._files[number])
            except VideoError as error:
                raise VideoError(self.name, f"{self._files[number].name}: {error.reason}") from None
            yield number, frame


def _pattern(file: Path) -> str:
    """The name with * for every number; empty for all names without any."""
    pattern = re.sub(r"\d+", "*", file.stem)
    return pattern + file.suffix.lower() if "*" in pattern else ""


def _frames(folder: Path, patterns: dict[str, list[Path]]) -> list[Path]:
    """The files of the pattern that is that of the frames, see the top of this module."""
    left = list(patterns)
    for preferred in (NUMBERED.search, NO_FLOW.match, COLOUR.match):
        left = [pattern for pattern in left if preferred(pattern)] or left
    if len(left) == 1:
        return patterns[left[0]]
    counts = [
        f"{pattern} ({len(patterns[pattern])})" for pattern in sorted(left, key=lambda name: -len(patterns[name]))
    ]
    more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    raise VideoError(
        folder,
        f"the names of its images follow several patterns: {', '.join(counts[:5])}{more}; expected one, such as "
        "img_*.jpg, with * for a number",
    )


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
