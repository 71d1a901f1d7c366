"""A timeline of a live stream: each row as soon as it is known, and how soon that was."""

from __future__ import annotations

import math
import time
from array import array
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from timesformer.errors import SettingError, VideoError
from timesformer.evaluation.scores import score_views
from timesformer.inference.predictor import Predictor
from timesformer.inference.timeline import TimelineOptions, WindowRow, row_of, smooth_scores
from timesformer.video.live import QUEUE, LiveVideo
from timesformer.video.video import Frame
from timesformer.video.views import frame_views
from timesformer.video.windows import ROUNDING, Window, cut_windows, timeline_grid


class LiveReport(NamedTuple):
    """How a live stream was kept up with.

    latency: p50 and p95, in seconds from the arrival of a window's last frame to its row; None where no row was known
        before the stream ended.
    windows: how many there were. dropped, damaged, reconnections: of the stream, see `LiveVideo`.
    """

    windows: int
    latency: tuple[float, float] | None
    dropped: int
    damaged: int
    reconnections: int

    def __str__(self) -> str:
        latency = ""
        if self.latency is not None:
            latency = ", latency {:.2f} s (p50), {:.2f} s (p95)".format(*self.latency)
        damaged = f", {self.damaged} damaged" if self.damaged else ""
        again = "" if self.reconnections == 1 else "s"
        return (
            f"{self.windows} windows{latency}; {self.dropped} frames dropped{damaged}, "
            f"{self.reconnections} reconnection{again}"
        )


class LiveTimeline:
    """The rows of a live stream, those that the same frames have in a file.

    options: as for `Predictor.timeline`; the timeline ends at `end`, or where the stream does, and begins with it.

    Attributes: `length` and `stride` of the windows, in seconds.
    Raises SettingError for options that are not allowed.
    """

    def __init__(self, predictor: Predictor, live: LiveVideo, options: TimelineOptions = TimelineOptions()) -> None:  # noqa: B008
        check_start(options)
        self._predictor, self._live, self._options = predictor, live, options
        self._shape, self._preprocessing = predictor.settings.clip_shape, predictor.preprocessing
        options.check(predictor.engine, self._preprocessing)
        self.length, self.stride = timeline_grid(
            options.window, options.stride, self._shape, self._preprocessing, live.fps
        )
        self._arrivals: deque[tuple[float, float]] = deque()  # of frames that no row's window has ended after
        self._latencies = array("f")
        self._windows = 0
        self._ended = False
        self._cut = False  # whether a frame has come that appears after the end of the timeline
        self._problem: VideoError | None = None

    def rows(self) -> Iterator[WindowRow]:
        """The rows. To be called once. Raises VideoError where the stream is lost, after all rows of what came."""
        for window, scores_K in smooth_scores(self._scored(), self._options.smooth):
            self._note(window)
            yield row_of(self._live.name, window, scores_K, self._predictor.labels)
        if self._problem is not None:
            raise self._problem

    def report(self) -> LiveReport:
        """How it went so far."""
        found = tuple(np.percentile(self._latencies, (50, 95)).tolist()) if self._latencies else None
        live = self._live
        return LiveReport(self._windows, found, live.dropped, live.damaged, live.reconnections)

    def _note(self, window: Window) -> None:
        """The row of a window is known."""
        self._windows += 1
        arrived = None
        while self._arrivals and self._arrivals[0][0] < (window.end or 0.0) - ROUNDING:
            arrived = self._arrivals.popleft()[1]
        if arrived is not None and not self._ended:
            self._latencies.append(time.monotonic() - arrived)

    def _scored(self) -> Iterator[tuple[Window, Tensor]]:
        for window, inside in cut_windows(self._frames(), self.length, self.stride, end=self._end):
            yield window, score_views(self._predictor.engine, frame_views(inside, self._shape, self._preprocessing))

    def _end(self, guess: float) -> float:
        """Where the timeline ends; guess: where the stream does, if the last frame lasts as long as the others."""
        end = self._options.end
        return end if end is not None and (self._cut or guess > end) else guess

    def _frames(self) -> Iterator[Frame]:
        """The frames of the stream; as many may wait as a window has."""
        queue = max(QUEUE, math.ceil(max(self.length, self.stride) * (self._live.fps or 0.0)))
        end = self._options.end
        try:
            for frame in self._live.frames(self._preprocessing.short_side or self._shape.side, queue):
                if end is not None and frame.seconds >= end - ROUNDING:
                    self._cut = True
                    break
                self._arrivals.append((frame.seconds, frame.arrived))
                yield Frame(frame.seconds, frame.image)
        except VideoError as problem:
            self._problem = problem
        self._ended = True


def check_start(options: TimelineOptions) -> None:
    """Raises SettingError for options with a start."""
    if options.start is not None:
        raise SettingError(f"start is {options.start:g}; a live stream begins with its first frame")
