"""A part of a video: the frames that appear from one time on and before another, as if the video were cut there."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from av.video.frame import VideoFrame
from torch import Tensor

from timesformer.errors import SettingError, VideoError
from timesformer.video.video import Frame, Video, mean_rate
from timesformer.video.windows import ROUNDING

UNKNOWN_RATE = "its frame rate is unknown, so it has no windows and no parts in seconds"


class Part(Video):
    """The frames first <= number < stop of an open video, as a video; closing it closes that one.

    Its frame rate is that of its own frames, None for a single frame, and its seconds count from the first of them. The
    images are those of the whole video: of the size that its first frame has. `first`: the number that its first frame
    has there.
    """

    def __init__(self, video: Video, first: int, stop: int) -> None:
        self._video, self.first = video, first
        self.name, self.codec, self.size = video.name, video.codec, video.size
        self.num_frames = stop - first
        self._opening, self._ending = video.seconds(first) or 0.0, video.seconds(stop - 1) or 0.0
        self.fps = mean_rate(self.num_frames, self._opening, self._ending)

    def close(self) -> None:
        self._video.close()

    def read(self, numbers: Sequence[int], short_side: int | None = None) -> Tensor:
        if not numbers or not 0 <= min(numbers) <= max(numbers) < self.num_frames:
            raise IndexError(f"{self.name}: frames {list(numbers)} of a part of {self.num_frames} frames")
        return self._video.read([self.first + number for number in numbers], short_side)

    def frames(self, short_side: int | None = None, first: int = 0, stop: int | None = None) -> Iterator[Frame]:
        stop = self.num_frames if stop is None else stop
        if not 0 <= first < stop <= self.num_frames:
            raise IndexError(f"{self.name}: frames {first} to {stop} of a part of {self.num_frames} frames")
        for number, frame in enumerate(self._video.frames(short_side, self.first + first, self.first + stop), first):
            self.resized = self._video.resized
            yield Frame(self.seconds(number), frame.image)

    def seconds(self, number: int) -> float | None:
        seconds = self._video.seconds(self.first + number)
        return None if seconds is None else seconds - self._opening

    def _chosen(self, numbers: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        shifted = [self.first + number for number in numbers]
        return ((number - self.first, frame) for number, frame in self._video._chosen(shifted))


def part_of(video: Video, start: float | None, end: float | None) -> Video:
    """The part of an open video from `start` to `end`, in seconds after its first frame; the video where both are None.

    Raises what `frames_between` does.
    """
    if start is None and end is None:
        return video
    return Part(video, *frames_between(video, start, end))


def frames_between(video: Video, start: float | None, end: float | None) -> tuple[int, int]:
    """The frames first <= number < stop of a video that appear from `start` on and before `end`, in seconds after its
    first frame; None is where it starts, and ends.

    Raises SettingError as `check_part` does; VideoError for a video whose times are unknown, for a part that begins or
    ends after the video, and where no frame appears.
    """
    check_part(start, end)
    if start is None and end is None:
        return 0, video.num_frames
    length = length_of(video)
    for name, value in (("start", start), ("end", end)):
        if value is not None and (value > length + ROUNDING or (name == "start" and value >= length)):
            raise VideoError(video.name, f"{name} is {value:g} s; the video ends after {length:.10g} s")
    first = 0 if start is None else number_at(video, start)
    stop = video.num_frames if end is None else number_at(video, end)
    if first >= stop:
        raise VideoError(video.name, f"no frame appears from {start or 0:g} s to {length if end is None else end:g} s")
    return first, stop


def length_of(video: Video) -> float:
    """Seconds of a video. Raises VideoError where times are unknown."""
    length = video.seconds(video.num_frames)
    if length is None:
        raise VideoError(video.name, UNKNOWN_RATE)
    return length


def number_at(video: Video, seconds: float) -> int:
    """The first frame that appears at that time or later."""
    return bisect_left(range(video.num_frames), seconds - ROUNDING, key=lambda number: video.seconds(number) or 0.0)


def check_part(start: float | None, end: float | None) -> None:
    """Raises SettingError for a start or end that is negative or not finite, and for an end that is not after the
    start."""
    for name, value in (("start", start), ("end", end)):
        if value is not None and not 0 <= value < math.inf:
            raise SettingError(f"{name} is {value:g}; expected seconds after the first frame, 0 or more")
    if end is not None and end <= (start or 0.0):
        raise SettingError(f"end is {end:g}; expected seconds after the start, which is {start or 0.0:g}")
