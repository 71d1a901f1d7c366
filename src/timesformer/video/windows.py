"""The windows of a video: which stretch of it a clip is spread over in a test; the windows of a timeline.

In a test they are counted in frames. A video of 27 frames at 9 frames a second, clips of 4 frames, `cover` at rate 2:
round(27 / 8) = 3 windows of 8 frames, evenly from the first frame to the last, a frame and a half apart.

    frames   0 . . . . . . . . 9 . . . . . . . . 18. . . . . . . . 27
    windows  |---- 0 to 8 ---|  |- 9.5 to 17.5 -|  |--- 19 to 27 --|
    seconds  0                 1                 2                 3

Which frames of its window make a clip is in `sampling.py`.

A timeline has windows of `length` seconds, one every `stride` seconds for as long as they end within the video, and a
last one that ends with the video where none of these does. In a window are the frames that appear from its start on and
before its end. A video of 5 s, length 2, stride 1.25:

    seconds  0         1         2         3         4         5
    windows  |------ 0 to 2 -----|
                         |--- 1.25 to 3.25 --|
                                      |---- 2.5 to 4.5 ---|
                                           |--- 3 to 5, last --|

A video that is shorter than `length` has one window, the video, which is `padded`. A window in which no frame appears,
as a video of variable frame rate may have, is skipped.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from timesformer.config import ClipShape, Preprocessing, Sampling
from timesformer.errors import SettingError
from timesformer.video.video import Frame

ROUNDING = 1e-6  # frames, or seconds: positions that differ by less are equal
UNKNOWN_LENGTH = "these weights spread a clip over a whole video and do not say how long their training videos were"
DIGITS = 6  # of seconds, after the point: limits of windows are whole microseconds, so that they can be written down


class Window(NamedTuple):
    """A stretch of a video.

    begin, length: where it begins and how long it is, in frames; neither need be whole, and a window may reach past
        the end of a short video.
    first, stop: the frames of the video in it, first <= number < stop.
    start, end: its limits in seconds after the first frame of the video, None where times are unknown. In a test these
        are when frame `first` appears and frame `stop - 1` disappears.
    padded: whether the video is shorter than the window should be.
    last: whether it is the window of a timeline that ends with the video, off the grid of the others.
    """

    begin: float
    length: float
    first: int
    stop: int
    start: float | None
    end: float | None
    padded: bool = False
    last: bool = False


def testing_windows(
    video_frames: int,
    num_frames: int,
    sampling: Sampling,
    fps: float | None,
    clips: int = 1,
    seconds: Callable[[int], float | None] = lambda number: None,
) -> list[Window]:
    """The windows of the clips of `num_frames` frames that a video of `video_frames` frames is tested with.

    They are `clips` windows, evenly from the start of the video to its end (a single one where `sampling` says); with
    `cover` as many as the video is long, rounded, so that neighbours lie apart or overlap by at most half a window.
    None reaches past the end of a video that is longer than one. Clips of `segments` are spread over the whole video.

    fps: frame rate of the video, None where unknown. seconds: when a frame appears, such as `Video.seconds`.
    Raises SettingError for a number of clips below 1, or above 1 with `cover`, which finds its own.
    """
    if clips < 1:
        raise SettingError(f"clips is {clips}; expected at least 1")
    length = span_length(num_frames, sampling, fps)
    room = max(video_frames - length, 0)
    if sampling.method == "cover":
        if clips != 1:
            raise SettingError(f"clips is {clips}; sampling cover takes as many as the video holds, so leave it at 1")
        clips = max(1, round(video_frames / length))
    if sampling.method == "segments":
        length, begins = float(video_frames), [0.0] * clips
    elif clips == 1:
        begins = [0.0 if sampling.single_clip == "start" else room / 2]
    else:
        begins = [room * clip / (clips - 1) for clip in range(clips)]
    return [_window(begin, length, video_frames, seconds) for begin in begins]


def span_length(num_frames: int, sampling: Sampling, fps: float | None) -> float:
    """Frames of the video that a clip of `span` or `cover` is spread over; they need not be whole."""
    length = num_frames * sampling.rate
    return length if sampling.fps is None or fps is None else length * fps / sampling.fps


def _window(begin: float, length: float, video_frames: int, seconds: Callable[[int], float | None]) -> Window:
    first = min(int(begin + ROUNDING), video_frames - 1)
    stop = min(max(int(begin + length + ROUNDING), first + 1), video_frames)
    padded = begin + length > video_frames + ROUNDING
    return Window(begin, length, first, stop, seconds(first), seconds(stop), padded)


def covering(shape: ClipShape, preprocessing: Preprocessing) -> Preprocessing:
    """Preprocessing under which a video is seen whole, in windows of `cover`: `preprocessing.window` seconds long where
    that is known, otherwise of what a clip spans. Raises SettingError where neither is known, as of `segments`."""
    sampling = preprocessing.sampling
    if preprocessing.window is not None:  # so many frames at a rate of as many in a second
        sampling = sampling.model_copy(update={"rate": preprocessing.window, "fps": float(shape.frames)})
    elif sampling.method == "segments":
        raise SettingError(f"whole: {UNKNOWN_LENGTH}, so windows have no length; cut the video in parts (start, end)")
    return preprocessing.model_copy(
        update={"sampling": sampling.model_copy(update={"method": "cover"}), "test_clips": 1}
    )


def timeline_grid(
    window: float | None, stride: float | None, shape: ClipShape, preprocessing: Preprocessing, fps: float | None
) -> tuple[float, float]:
    """Length and stride of the windows of a timeline, in seconds, where one that is None is the default.

    The default length is the span of a clip at the video's frame rate `fps`, and that of `segments` what the weights
    say; the default stride is half a window. Raises SettingError as `check_grid` does, and where there is no default
    length.
    """
    check_grid(window, stride)
    if window is None:
        window = default_window(shape, preprocessing, fps)
    window = round(window, DIGITS)
    return window, window / 2 if stride is None else stride


def check_grid(window: float | None, stride: float | None) -> None:
    """Raises SettingError for a length or stride below a microsecond, or not finite."""
    for name, value in (("window", window), ("stride", stride)):
        if value is not None and not 10**-DIGITS <= value < math.inf:
            raise SettingError(f"{name} is {value:g}; expected seconds, at least {10**-DIGITS:g}")


def default_window(shape: ClipShape, preprocessing: Preprocessing, fps: float | None) -> float:
    """What `preprocessing.window` says; the seconds that a clip is spread over in a video of `fps` frames a second.

    Raises SettingError where neither the weights nor the video say.
    """
    sampling = preprocessing.sampling
    if preprocessing.window is not None:
        return preprocessing.window
    if sampling.method == "segments":
        raise SettingError(f"window: {UNKNOWN_LENGTH}; give the seconds of a window (--window)")
    rate = fps or sampling.fps
    if rate is None:
        raise SettingError("window: the frame rate of the video is unknown; give the seconds of a window (--window)")
    return span_length(shape.frames, sampling, rate) / rate


def window_start(begin: float, stride: float, number: int) -> float:
    """When window `number` of a timeline that begins at `begin` starts, in seconds."""
    return round(begin + number * stride, DIGITS)


def cut_windows(
    frames: Iterable[Frame],
    length: float,
    stride: float,
    *,
    begin: float = 0.0,
    end: float | Callable[[float], float] | None = None,
    skip: int = 0,
    number: int = 0,
) -> Iterator[tuple[Window, list[Frame]]]:
    """The windows of a timeline with their frames, each as soon as it is known that it has no more.

    frames: a stream in the order of showing, whose times are known. No more of them are kept than a window has, and
        none is asked for twice.
    length, stride: of the windows, in seconds, as `timeline_grid` gives them.
    begin, end: where the timeline begins and ends, in seconds; end is None where only the stream knows: then the last
        frame is taken to last as long as the others on average. A function gets that end, after the last frame, and
        returns the one that is taken.
    skip: windows of the grid that are skipped at the start, whose frames need not be in the stream.
    number: of the first frame of the stream.
    """
    held: deque[Frame] = deque()
    held_first = number  # the number of the first one
    opening: float | None = None
    now, position, count = begin, skip, 0

    def cut(
        start: float, end: float, *, padded: bool = False, last: bool = False
    ) -> Iterator[tuple[Window, list[Frame]]]:
        inside = [
            (at, frame)
            for at, frame in enumerate(held, held_first)
            if start - ROUNDING <= seconds_of(frame) < end - ROUNDING
        ]
        if inside:
            first, stop = inside[0][0], inside[-1][0] + 1
            window = Window(float(first), float(stop - first), first, stop, start, end, padded, last)
            yield window, [frame for _, frame in inside]

    def grid_end() -> float:
        return round(window_start(begin, stride, position) + length, DIGITS)

    for frame in frames:
        now = seconds_of(frame)
        opening = now if opening is None else opening
        count += 1
        while grid_end() - ROUNDING <= now:
            yield from cut(window_start(begin, stride, position), grid_end())
            position += 1
        # The last window may begin as far back as this.
        needed = min(window_start(begin, stride, position), now - length) - 2 * ROUNDING
        while held and seconds_of(held[0]) < needed:
            held.popleft()
            held_first += 1
        held.append(frame)
    if not isinstance(end, float | int):
        mean = (now - (now if opening is None else opening)) / max(count - 1, 1)
        guess = now + max(mean, 2 * ROUNDING)
        end = guess if end is None else end(guess)
    end = round(end, DIGITS)
    reached = -math.inf
    if position:
        reached = round(window_start(begin, stride, position - 1) + length, DIGITS)
    while grid_end() <= end + ROUNDING:
        yield from cut(window_start(begin, stride, position), reached := grid_end())
        position += 1
    if not position:
        yield from cut(begin, end, padded=True)
    elif reached < end - ROUNDING:
        yield from cut(round(end - length, DIGITS), end, last=True)


def seconds_of(frame: Frame) -> float:
    """When a frame appears, where that is known."""
    assert frame.seconds is not None
    return frame.seconds
