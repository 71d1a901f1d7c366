"""Segments of a timeline against the ground truth: frame accuracy, and mean average precision at temporal IoUs.

**Mean average precision** is what ActivityNet's evaluation code computes (Evaluation/eval_detection.py in
github.com/activitynet/ActivityNet), with which results on THUMOS14 are reported too, there at thresholds 0.3 to 0.7:

- The temporal IoU of two segments is the length of their intersection over that of their union.
- For each class, and each threshold by itself, the detections of all videos are taken by descending score. Each is a
  true positive if a true segment of its class and video that no detection before it has taken has an IoU with it of at
  least the threshold; of several, it takes that of the highest IoU. All others are false positives, so the second
  detection of a true segment is one. Of equal scores the detection that is given first comes first (ActivityNet's code
  leaves that open).
- The average precision of a class is the area under its curve of precision against recall, where the precision at a
  recall is the highest one at this recall or any above (interpolation of PASCAL VOC 2011, at all points).
- The mean is over the classes that have a true segment; one without any detection has average precision 0. Detections
  of other classes count nowhere; `TemporalMetrics.elsewhere` is how many there are.

(The development kit of THUMOS14 itself does not interpolate; papers report ActivityNet's way.)

**Frame accuracy** is the fraction of all frames of the videos that get their true class, where no segment is a class
too. A frame belongs to a segment if start <= its time < end. Where true segments of several classes cover a frame, each
of them is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)


class TrueSegment(NamedTuple):
    """A stretch of a video, in seconds after its first frame, that is of a class."""

    video: str
    start: float
    end: float
    label: str


class Detection(NamedTuple):
    """A segment that was found, with its score; detections are ranked by it."""

    video: str
    start: float
    end: float
    label: str
    score: float


class TemporalMetrics(NamedTuple):
    """Fractions between 0 and 1, to six decimal places.

    frame_accuracy: of all frames. most_frequent: fraction of frames that the most frequent class, or none, has: what
    calling all frames alike would give. mean_average_precision: by threshold of temporal IoU; empty where there is no
    true segment. elsewhere: detections of classes that no true segment has.
    """

    frame_accuracy: float
    most_frequent: float
    mean_average_precision: dict[float, float]
    elsewhere: int

    @property
    def average(self) -> float | None:
        """The mean over the thresholds, ActivityNet's average mAP; None where there is no true segment."""
        values = self.mean_average_precision.values()
        return round(sum(values) / len(values), 6) if values else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, the thresholds as text: {"frame_accuracy": ..., "mean_average_precision": {"0.3": ...}}."""
        precision = {f"{threshold:g}": value for threshold, value in self.mean_average_precision.items()}
        return {**self._asdict(), "mean_average_precision": precision, "average_mean_average_precision": self.average}


def measure_segments(
    detections: Sequence[Detection],
    truth: Sequence[TrueSegment],
    frames: Mapping[str, Sequence[float]],
    thresholds: Sequence[float] = THRESHOLDS,
) -> TemporalMetrics:
    """Metrics of the segments of some videos.

    detections: those of a video do not overlap. frames: of every video, when its frames appear, in seconds after the
    first one, ascending; videos that are not in it may have neither detections nor true segments.
    """
    right, count, seen = 0, 0, Counter[str | None]()
    for video, times in frames.items():
        found = [(one.start, one.end, one.label) for one in detections if one.video == video]
        true = [(one.start, one.end, one.label) for one in truth if one.video == video]
        for label, labels in zip(_labels_at(times, found), _labels_at(times, true), strict=True):
            right += label == labels or not label.isdisjoint(labels)
            seen.update(labels or {None})
        count += len(times)
    classes = {one.label for one in truth}
    return TemporalMetrics(
        frame_accuracy=round(right / max(count, 1), 6),
        most_frequent=round(max(seen.values(), default=0) / max(count, 1), 6),
        mean_average_precision=mean_average_precision(detections, truth, thresholds),
        elsewhere=sum(one.label not in classes for one in detections),
    )


def mean_average_precision(
    detections: Iterable[Detection], truth: Iterable[TrueSegment], thresholds: Sequence[float] = THRESHOLDS
) -> dict[float, float]:
    """By threshold, as at the top of this module, to six decimal places; empty where there is no true segment."""
    true_of: dict[str, list[TrueSegment]] = {}
    for one in truth:
        true_of.setdefault(one.label, []).append(one)
    found_of: dict[str, list[Detection]] = {label: [] for label in true_of}
    for detection in detections:
        if detection.label in found_of:
            found_of[detection.label].append(detection)
    if not true_of:
        return {}
    return {
        threshold: round(
            sum(average_precision(found_of[label], true, threshold) for label, true in true_of.items()) / len(true_of),
            6,
        )
        for threshold in thresholds
    }


def average_precision(detections: Sequence[Detection], truth: Sequence[TrueSegment], threshold: float) -> float:
    """The interpolated average precision of one class; `truth` has at least one segment."""
    free: dict[str, list[TrueSegment]] = {}
    for one in truth:
        free.setdefault(one.video, []).append(one)
    hits = []
    for detection in sorted(detections, key=lambda one: -one.score):
        left = free.get(detection.video, [])
        best = max(left, key=lambda one: temporal_iou(detection, one), default=None)
        hit = best is not None and temporal_iou(detection, best) >= threshold
        if best is not None and hit:
            left.remove(best)
        hits.append(hit)
    precisions = [positives / rank for rank, positives in enumerate(accumulate(hits), 1)]
    interpolated = list(accumulate(reversed(precisions), max))[::-1]
    return sum(precision for precision, hit in zip(interpolated, hits, strict=True) if hit) / len(truth)


def temporal_iou(one: Detection | TrueSegment, other: Detection | TrueSegment) -> float:
    """Length of the intersection of two segments over that of their union."""
    shared = max(0.0, min(one.end, other.end) - max(one.start, other.start))
    return shared / ((one.end - one.start) + (other.end - other.start) - shared)


def _labels_at(times: Sequence[float], segments: list[tuple[float, float, str]]) -> Iterable[frozenset[str]]:
    """The classes of the segments that cover each of ascending times."""
    ahead = sorted(segments, reverse=True)
    covering: list[tuple[float, float, str]] = []
    for time in times:
        while ahead and ahead[-1][0] <= time:
            covering.append(ahead.pop())
        if any(end <= time for _, end, _ in covering):
            covering = [segment for segment in covering if segment[1] > time]
        yield frozenset(label for _, _, label in covering)
