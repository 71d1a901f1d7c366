"""What a video shows, window after window: rows as they are known, of videos of any length.

Windows are those of `timesformer.video.windows`. They go through the engine in groups of neighbours that begin at fixed
places of the grid, so that a timeline that is stopped and goes on gives the same numbers to the last bit.

Dimensions: V views of a window, C 3 colours, T frames, S pixels, K classes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timesformer.config import Preprocessing
from timesformer.engine.engine import Engine
from timesformer.errors import SettingError
from timesformer.evaluation.scores import ViewQueue, mean_scores
from timesformer.inference.read_ahead import ReadAhead
from timesformer.video.part import check_part, length_of
from timesformer.video.video import Video
from timesformer.video.views import window_views
from timesformer.video.windows import ROUNDING, Window, check_grid, default_window, timeline_grid

AHEAD = 4  # windows whose views are ready while the engine runs


class WindowRow(NamedTuple):
    """What a window of a video shows.

    video: what the row calls it. start, end: seconds after the first frame. padded: whether the video is shorter than
    the window should be. last: whether it is the window that ends with the video, off the grid of the others. label,
    score: the best class. scores: of all classes, between 0 and 1, in the order of the weights.
    """

    video: Path | str
    start: float
    end: float
    padded: bool
    last: bool
    label: str
    score: float
    scores: Mapping[str, float]

    def as_dict(self, *, scores: bool = False) -> dict[str, Any]:
        """Plain values: video, start_s, end_s, padded, last, label, score; with `scores` also those of all classes."""
        row = {
            "video": str(self.video),
            "start_s": self.start,
            "end_s": self.end,
            "padded": self.padded,
            "last": self.last,
            "label": self.label,
            "score": self.score,
        }
        return {**row, "scores": dict(self.scores)} if scores else row


class TimelineOptions(NamedTuple):
    """How a video is cut into windows, in seconds; see `Predictor.timeline`."""

    window: float | None = None
    stride: float | None = None
    start: float | None = None
    end: float | None = None
    smooth: float = 0.0

    def check(self, engine: Engine, preprocessing: Preprocessing) -> None:
        """Raises SettingError for values that are not allowed for any video, and where a window has no length."""
        check_part(self.start, self.end)
        check_grid(self.window, self.stride)
        if not 0 <= self.smooth < math.inf:
            raise SettingError(f"smooth is {self.smooth:g}; expected seconds, 0 or more")
        if self.window is None:
            default_window(engine.clip_shape, preprocessing, 1.0)


def timeline_rows(
    engine: Engine,
    preprocessing: Preprocessing,
    labels: Sequence[str],
    video: Video,
    options: TimelineOptions,
    after: float | None = None,
) -> Iterator[WindowRow]:
    """The rows of an open video, each as soon as it is known; only those that start later than `after`, where given.

    Frames are decoded ahead, in a thread. Raises what `window_views` does.
    """
    length_of(video)
    length, stride = timeline_grid(options.window, options.stride, engine.clip_shape, preprocessing, video.fps)
    begin, group, skip = options.start or 0.0, engine.views, 0

    def number(seconds: float | None) -> float:
        """Which window of the grid starts then."""
        return ((seconds or 0.0) - begin) / stride

    if after is not None:
        needed = round(number(after)) + 1 - (options.smooth + 2 * ROUNDING) / stride
        skip = max(0, math.floor(needed)) // group * group
    found = window_views(
        video,
        engine.clip_shape,
        preprocessing,
        window=length,
        stride=stride,
        start=options.start,
        end=options.end,
        skip=skip,
    )
    with closing(ReadAhead(found, AHEAD)) as windows:
        scored = score_windows(engine, windows, lambda window: int(number(window.start) + ROUNDING) // group)
        for window, scores_K in smooth_scores(scored, options.smooth):
            if after is None or (window.start or 0.0) > after + ROUNDING:
                yield row_of(video.name, window, scores_K, labels)


def row_of(video: Path | str, window: Window, scores_K: Tensor, labels: Sequence[str]) -> WindowRow:
    """A window with its scores as a row."""
    assert window.start is not None
    assert window.end is not None
    scores = dict(zip(labels, scores_K.tolist(), strict=True))
    best = labels[int(scores_K.argmax())]
    return WindowRow(video, window.start, window.end, window.padded, window.last, best, scores[best], scores)


def score_windows(
    engine: Engine, windows: Iterable[tuple[Window, Tensor]], group: Callable[[Window], Hashable]
) -> Iterator[tuple[Window, Tensor]]:
    """Windows with views (V, 3, T, S, S) become windows with scores (K,), in float32 on the CPU.

    The engine gets `engine.views` views at a time, of neighbouring windows of which `group` says the same: what the
    group of a window is decides how long it waits, and which others go through the engine with it.
    """
    for _, members in groupby(windows, key=lambda found: group(found[0])):
        queue, waiting = ViewQueue(engine, engine.views), deque[tuple[Window, int]]()

        def known(
            queue: ViewQueue = queue, waiting: deque[tuple[Window, int]] = waiting
        ) -> Iterator[tuple[Window, Tensor]]:
            while waiting and len(queue.logits) >= waiting[0][1]:
                window, views = waiting.popleft()
                logits_VK = torch.stack([queue.logits.popleft() for _ in range(views)])
                yield window, mean_scores(logits_VK, torch.tensor([views]), multilabel=engine.multilabel)[0]

        for window, views_VCTSS in members:
            waiting.append((window, len(views_VCTSS)))
            queue.put(views_VCTSS)
            while queue.full:
                queue.run()
            yield from known()
        queue.finish()
        yield from known()


def smooth_scores(scored: Iterable[tuple[Window, Tensor]], seconds: float) -> Iterator[tuple[Window, Tensor]]:
    """Each window with the mean of the scores (K,) of all windows whose centres lie within so many seconds of its own.

    A window comes as soon as one is known whose centre lies later than that, or there are no more.
    """
    held: deque[tuple[float, Tensor]] = deque()
    pending: deque[tuple[float, Window]] = deque()

    def smoothed() -> tuple[Window, Tensor]:
        centre, window = pending.popleft()
        while held[0][0] < centre - seconds - ROUNDING:
            held.popleft()
        near = [scores_K for other, scores_K in held if other <= centre + seconds + ROUNDING]
        return window, near[0] if len(near) == 1 else torch.stack(near).mean(0)

    for window, scores_K in scored:
        assert window.start is not None
        assert window.end is not None
        centre = (window.start + window.end) / 2
        while pending and pending[0][0] < centre - seconds - ROUNDING:
            yield smoothed()
        held.append((centre, scores_K))
        pending.append((centre, window))
        if not seconds:
            yield smoothed()
    while pending:
        yield smoothed()
