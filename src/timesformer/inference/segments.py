"""The windows of a timeline -> scores of every moment -> segments.

The scores of a moment are the mean of those of all windows that cover it, start <= moment < end. They change only where
a window starts or ends, so a timeline is a sequence of pieces with one row of scores each, and nothing is sampled. Two
windows of 2 s, a second apart, with scores of classes A and B:

    seconds   0         1         2         3
    windows   |-- A 0.9, B 0.1 ---|
                        |-- A 0.2, B 0.8 ---|
    pieces    | A 0.9   | A 0.55  | B 0.8   |
    segments  |-------- A --------|--- B ---|      A: mean score 0.725, peak 0.9

A moment is of its best class; of none where no window covers it, where that class is a background class, and where its
score is below the threshold. Neighbouring moments of one class are a segment. A minimum length S then changes segments
twice, in this order: those shorter than S are dropped, and two that follow each other, of one class and less than S
apart, are joined. So a dropped segment no longer parts two of the same class; where its neighbours are of different
classes, what it covered is of none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from timesformer.data.labels import composed
from timesformer.errors import SettingError

ROUNDING = 1e-6  # seconds: times that differ by less are equal
DIGITS = 6  # of scores and seconds in files


class ScoredWindow(NamedTuple):
    """A window of a timeline: its start and end in seconds, and the scores of all classes, (K,)."""

    start: float
    end: float
    scores_K: NDArray[np.floating[Any]]

    @classmethod
    def of(cls, start: float, end: float, scores: Mapping[str, float]) -> ScoredWindow:
        """From the values of a row, whose scores are in the order of the classes."""
        return cls(start, end, np.fromiter(scores.values(), np.float32, len(scores)))


class Piece(NamedTuple):
    """A stretch of time that the same windows cover, in seconds, and the mean of their scores, (K,) float64."""

    start: float
    end: float
    scores_K: NDArray[np.float64]


class Segment(NamedTuple):
    """A stretch of time of one class.

    start, end: in seconds after the first frame of the video. mean_score: of the class, over the time for which it was
    the best one. peak_score: its highest score.
    """

    start: float
    end: float
    label: str
    mean_score: float
    peak_score: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded to six decimal places: start_s, end_s, label, mean_score, peak_score."""
        start, end = round(self.start, DIGITS), round(self.end, DIGITS)
        mean, peak = round(self.mean_score, DIGITS), round(self.peak_score, DIGITS)
        return {"start_s": start, "end_s": end, "label": self.label, "mean_score": mean, "peak_score": peak}


class Segmenter:
    """What makes segments of the windows of a timeline.

    Args:
        labels: names of the K classes.
        threshold: score between 0 and 1 below which a moment is of no class.
        min_length: length in seconds that segments have at least; 0 keeps them all.
        background: classes whose moments are of no class.

    Raises SettingError for a threshold or a length that is not allowed, and for a background class that is not among
    the labels, or is all of them.
    """

    def __init__(
        self,
        labels: Sequence[str],
        *,
        threshold: float = 0.0,
        min_length: float = 0.0,
        background: Collection[str] = (),
    ) -> None:
        if not 0 <= threshold <= 1:
            raise SettingError(f"threshold is {threshold}; expected a score between 0 and 1")
        if not 0 <= min_length < math.inf:
            raise SettingError(f"min-length is {min_length}; expected seconds, at least 0")
        known = {composed(label): number for number, label in enumerate(labels)}
        if unknown := [name for name in background if composed(name) not in known]:
            raise SettingError(f"background is {unknown[0]}; expected one of the classes {_some(labels)}")
        self.labels, self.threshold, self.min_length = tuple(labels), threshold, min_length
        self._background = {known[composed(name)] for name in background}
        self.background = tuple(labels[number] for number in sorted(self._background))
        if len(self._background) == len(labels):
            raise SettingError("background: all classes; expected at least one that is not")

    def segments(self, windows: Iterable[ScoredWindow]) -> Iterator[Segment]:
        """The segments of one video, in their order, each as soon as it is known; they do not overlap.

        windows: in the order of their starts. Memory does not grow with their number.
        """
        long = (run for run in self._runs(pieces(windows)) if run.end - run.start > self.min_length - ROUNDING)
        last: _Run | None = None
        for run in long:
            if last is None or last.number != run.number or run.start - last.end > self.min_length - ROUNDING:
                if last is not None:
                    yield self._segment(last)
                last = run
            else:
                last = last.joined(run)
        if last is not None:
            yield self._segment(last)

    def _runs(self, parts: Iterable[Piece]) -> Iterator[_Run]:
        """Neighbouring pieces of one class, as long as possible."""
        last: _Run | None = None
        for start, end, scores_K in parts:
            number = int(scores_K.argmax())
            score = float(scores_K[number])
            run = _Run(start, end, number, end - start, score * (end - start), score)
            if number in self._background or score < self.threshold:
                continue
            if last is not None and last.number == number and start - last.end < ROUNDING:
                last = last.joined(run)
                continue
            if last is not None:
                yield last
            last = run
        if last is not None:
            yield last

    def _segment(self, run: _Run) -> Segment:
        return Segment(run.start, run.end, self.labels[run.number], run.summed / run.won, run.peak)


class _Run(NamedTuple):
    """A segment in the making, of class `number`, which was the best one for `won` seconds; `summed` is the integral of
    its score over them."""

    start: float
    end: float
    number: int
    won: float
    summed: float
    peak: float

    def joined(self, other: _Run) -> _Run:
        won, summed = self.won + other.won, self.summed + other.summed
        return _Run(self.start, other.end, self.number, won, summed, max(self.peak, other.peak))


def pieces(windows: Iterable[ScoredWindow]) -> Iterator[Piece]:
    """The scores of every moment that a window covers, as pieces in their order; none for gaps between windows.

    windows: in the order of their starts; the ends may be in any.
    """
    covering: list[ScoredWindow] = []
    now = 0.0
    for window in chain(windows, (None,)):
        until = math.inf if window is None else window.start
        while covering and now < until - ROUNDING:
            end = min(until, *(one.end for one in covering))
            if end - now > ROUNDING:
                yield Piece(now, end, np.mean([one.scores_K for one in covering], axis=0, dtype=np.float64))
            now = end
            covering = [one for one in covering if one.end > now + ROUNDING]
        if window is not None:
            now = now if covering else window.start
            covering.append(window)


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:8])
    return shown if len(labels) <= 8 else f"{shown}, ... ({len(labels)} in all)"
