"""Which frames of a video make a clip: index arithmetic alone, no decoding.

A video of 24 frames (0 to 23), clips of num_frames = 4:

    span, rate 4: num_frames x rate = 16 neighbouring frames, of which 4 are spread from the first to the last.
    In training the span lies anywhere; in testing k spans lie evenly, a single one in the middle.

        video   0 . . . 4 . . . 8 . . . . . . . . . . 19. . . 23
        clip            |-------- 16 frames --------|
                        4         9        14       19

    segments: the video in num_frames equal parts (Something-Something V2); one frame of each part, drawn at
    random in training, its centre in testing.

        video   |- - - - - -|- - - - - -|- - - - - -|- - - - - |
        clip         3           9           14          20

    cover, rate 2: as many spans of num_frames x rate = 8 frames as the video is long, rounded, evenly from its first
    frame to its last; a single one lies where that of `span` does.

        video   |- - clip 0 - - -|- - clip 1 - - -|- - clip 2 - - -|
        clip 0  0  2  4  7

Frames past the end of a short video are its last frame again.
"""

from __future__ import annotations

import random

from timesformer.config import Sampling
from timesformer.video.windows import span_length, testing_windows


def training_clip(
    video_frames: int,
    num_frames: int,
    sampling: Sampling,
    fps: float | None,
    generator: random.Random,
    time_scale: tuple[float, float] = (1.0, 1.0),
) -> list[int]:
    """Frame numbers of one clip drawn at random: `num_frames` of them, each below `video_frames`.

    `fps` is the frame rate of the video, None where it is unknown (a folder of images). `cover` trains on spans.
    `time_scale`: smallest and largest factor of the span's length; for segments, the fraction of the video they
    divide, which lies anywhere in it.
    """
    scale = 1.0 if time_scale == (1.0, 1.0) else generator.uniform(*time_scale)
    if sampling.method == "segments":
        part = max(1, round(video_frames * scale))
        start = generator.randint(0, video_frames - part) if part < video_frames else 0
        return [start + generator.randint(first, last) for first, last in _segments(part, num_frames)]
    length = span_length(num_frames, sampling, fps) * scale
    return _spread(video_frames, num_frames, generator.uniform(0, max(video_frames - length, 0)), length)


def testing_clips(
    video_frames: int, num_frames: int, sampling: Sampling, fps: float | None, clips: int = 1
) -> list[list[int]]:
    """Frame numbers of the clips a video is tested with: `clips` of them, or as many as cover the video.

    Raises SettingError for a number of clips below 1, or above 1 with `cover`, which finds its own.
    """
    windows = testing_windows(video_frames, num_frames, sampling, fps, clips)
    if sampling.method == "segments":
        return [_points(video_frames, num_frames, clip, clips) for clip in range(clips)]
    return [_spread(video_frames, num_frames, window.begin, window.length) for window in windows]


def _spread(video_frames: int, num_frames: int, start: float, length: float) -> list[int]:
    """`num_frames` points linearly from `start` to the last frame of a span of `length`, rounded down."""
    gap = max(length - 1, 0) / max(num_frames - 1, 1)
    return [min(max(int(start + index * gap + 1e-6), 0), video_frames - 1) for index in range(num_frames)]


def _segments(video_frames: int, num_frames: int) -> list[tuple[int, int]]:
    """First and last frame of each segment; neighbours share their border, as in the released code."""
    size = (video_frames - 1) / num_frames
    return [(round(size * index), round(size * (index + 1))) for index in range(num_frames)]


def _points(video_frames: int, num_frames: int, clip: int, clips: int) -> list[int]:
    """The same point of every segment: the middle of the part numbered `clip` out of `clips`."""
    return [
        first + (last - first) * (2 * clip + 1) // (2 * clips) for first, last in _segments(video_frames, num_frames)
    ]
