"""What a decoder may say. It has had a hostile file in its hands, so nothing that it sends is used without a look.

A message is a header of JSON, and its arrays. How many arrays a task has, and how large they may be, is known before
they are received; what the header says is checked against them. Whatever is not as it should be raises ValueError.

Dimensions: V views, C 3 colours, T frames of a clip, S pixels, N frames, H and W their pixels.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter
from torch import Tensor

from timesformer.explain.placement import SHORT_SIDE, View, Views
from timesformer.serve.problems import Problem
from timesformer.serve.worker import DRAWN_PIXELS, Limits, Message, Task
from timesformer.video.seen import Seen
from timesformer.video.windows import Window

OF_FILES = (  # codes of problems
    "bad_parameter",
    "not_a_video",
    "too_long",
    "too_many_frames",
    "too_many_pixels",
    "too_many_windows",
    "too_much_memory",
    "unreadable_video",
)
FINITE = ConfigDict(allow_inf_nan=False)
LARGEST = 2**20  # of whole numbers: pixels of a side
Pixels = Annotated[int, Field(ge=1, le=LARGEST)]


class _Explanation(NamedTuple):
    places: list[View]
    size: tuple[Pixels, Pixels]
    scaled: tuple[Pixels, Pixels]
    frames: list[int]
    seconds: list[float | None]
    seen: Seen


SEEN, WINDOW = TypeAdapter(Seen, config=FINITE), TypeAdapter(Window, config=FINITE)
EXPLANATION = TypeAdapter(_Explanation, config=FINITE)
STRIDE = TypeAdapter(Annotated[float, Field(ge=1e-7)], config=FINITE)  # seconds
PROBLEM = TypeAdapter(tuple[str, Annotated[str, Field(max_length=1000)]])
SHAPES = TypeAdapter(list[tuple[Annotated[int, Field(ge=1)], ...]])


def most_messages(task: Task, limits: Limits) -> int:
    """How many messages a task has at most, beside its end."""
    return limits.frames + 2 if task.what == "windows" else 1


def read_problem(found: Any) -> Problem:
    """Why a file is not decoded."""
    code, detail = PROBLEM.validate_python(found)
    _check(code in OF_FILES and detail.isprintable(), "a problem of a file")
    return Problem(code, detail)


def read_shapes(found: Any, task: Task, limits: Limits, first: bool) -> list[tuple[int, ...]]:
    """The shapes of a message's arrays, which may come. first: whether it is the first message of its task."""
    shapes = SHAPES.validate_python(found)
    if task.what == "windows" and first:
        _check(not shapes, "no arrays")
        return shapes
    _check(len(shapes) == (2 if task.what == "explanation" else 1), "as many arrays as the task has")
    _check(sum(map(math.prod, shapes)) <= limits.memory, "arrays within the memory of a decoder")
    views, (frames, side) = shapes[0], task.shape
    _check(views[1:] == (3, frames, side, side), "views as the model takes them")
    preprocessing = task.preprocessing
    if preprocessing.sampling.method != "cover":
        _check(views[0] == preprocessing.test_clips * preprocessing.test_crops, "as many views as the model takes")
    _check(views[0] % preprocessing.test_crops == 0, "all crops of each clip")
    if task.what == "explanation":
        drawn = shapes[1]
        _check(len(drawn) == 4 and drawn[0] == 3, "frames (3, N, H, W)")
        _check(math.prod(drawn[1:]) <= DRAWN_PIXELS and min(drawn[2:]) <= SHORT_SIDE, "frames that can be drawn")
    return shapes


def read_seen(header: dict[str, Any]) -> Seen:
    """How much of a video its views show."""
    seen = SEEN.validate_python(header.get("seen"))
    _check(0 < seen.frames <= seen.of, "frames that the video has")
    return seen


def read_stride(header: dict[str, Any]) -> float:
    """Seconds from one window of a timeline to the next."""
    return STRIDE.validate_python(header.get("stride"))


def read_window(header: dict[str, Any], after: float, limits: Limits) -> Window:
    """A window of a timeline, which does not start before `after`, in seconds."""
    window = WINDOW.validate_python(header.get("window"))
    _check(window.start is not None and window.end is not None, "seconds")
    assert window.start is not None
    assert window.end is not None
    _check(after <= window.start < window.end <= limits.seconds + 1, "windows one after the other")
    return window


def read_explained(message: Message, task: Task, limits: Limits) -> tuple[Views, Tensor]:
    """The views with where they lie in the video as it is drawn, and the frames to draw on (3, N, H, W)."""
    header, (clips_VCTSS, frames_CNHW) = message
    found = EXPLANATION.validate_python(header)
    known = set(found.frames)
    _check(found.size == tuple(frames_CNHW.shape[2:]), "the size of its frames")
    _check(len(found.frames) == len(found.seconds) == frames_CNHW.shape[1], "a number and a time of each frame")
    _check(found.frames == sorted(known) and found.frames[0] >= 0, "frames in order")
    _check(found.frames[-1] < limits.frames, "frames that the video may have")
    times = [time for time in found.seconds if time is not None]
    _check(len(times) in (0, len(found.seconds)), "times of all frames, or of none")
    _check(times == sorted(times) and min(times, default=0.0) >= 0, "times in order")
    _check(len(found.places) == len(clips_VCTSS), "a place of each view")
    for place in found.places:
        _check(len(place.numbers) == task.shape.frames and known.issuperset(place.numbers), "frames of a view")
        for first, scaled in zip((place.top, place.left), found.scaled, strict=True):
            _check(0 <= first <= scaled - task.shape.side, "views within the frame")
    return Views(clips_VCTSS, found.places, found.size, found.scaled, found.frames, found.seconds, read_seen(header)), (
        frames_CNHW
    )


def _check(good: bool, expected: str) -> None:
    if not good:
        raise ValueError(f"a decoder's message; expected {expected}")
