"""How much of a video its test views show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from timesformer.config import ClipShape, Preprocessing
from timesformer.video.sampling import testing_clips
from timesformer.video.video import Video
from timesformer.video.windows import testing_windows

# A video is sampled sparsely if it is more than so many times as long as its windows, or has more seconds to a frame
# that is looked at; where times are unknown, more frames.
TIMES_THE_WINDOWS = 4
SECONDS_A_FRAME = 5
FRAMES_A_FRAME = 150


class Seen(NamedTuple):
    """What the clips of a video show of it.

    frames: different frames that are looked at; of: frames of the video. spanned: seconds of the video that the windows
    of its clips cover together; a clip of `segments` spans all of it, however few its frames. seconds: length of the
    video. Both are None where the times of frames are unknown.
    """

    frames: int
    of: int
    spanned: float | None
    seconds: float | None

    @property
    def sparse(self) -> bool:
        """Whether the video is more than four times as long as its windows, or than five seconds a frame; where times
        are unknown, whether it has more than 150 frames to one that is looked at."""
        if self.seconds is None or self.spanned is None:
            return self.of > FRAMES_A_FRAME * self.frames
        return self.seconds > min(TIMES_THE_WINDOWS * self.spanned, SECONDS_A_FRAME * self.frames)

    def as_dict(self) -> dict[str, int | float | None]:
        """As in the row of an answer, in milliseconds' steps: seconds, frames, seen_seconds, seen_frames."""
        whole = {"seconds": _rounded(self.seconds), "frames": self.of}
        return {**whole, "seen_seconds": _rounded(self.spanned), "seen_frames": self.frames}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Seen:
        """What the row of an answer says of it."""
        return cls(row["seen_frames"], row["frames"], row["seen_seconds"], row["seconds"])

    def __str__(self) -> str:
        frames = f"{self.frames} of {self.of} frames"
        if self.seconds is None or self.spanned is None:
            return frames
        if self.spanned > 0.99 * self.seconds:
            return f"{frames}, one in {self.seconds / self.frames:.3g} s"
        return f"{frames}, in {self.spanned:.1f} of {self.seconds:.1f} s"


def seen_of(video: Video, shape: ClipShape, preprocessing: Preprocessing) -> Seen:
    """What `read_views` with the same arguments shows of an open video; nothing is decoded."""
    sampling, fps, clips = preprocessing.sampling, video.fps, preprocessing.test_clips
    numbers = testing_clips(video.num_frames, shape.frames, sampling, fps, clips)
    frames, seconds = len({number for clip in numbers for number in clip}), video.seconds(video.num_frames)
    if seconds is None:
        return Seen(frames, video.num_frames, None, None)
    spanned, reached = 0.0, 0
    for window in testing_windows(video.num_frames, shape.frames, sampling, fps, clips):
        first, reached = max(window.first, reached), max(window.stop, reached)
        spanned += (video.seconds(reached) or 0.0) - (video.seconds(first) or 0.0)
    return Seen(frames, video.num_frames, spanned, seconds)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
