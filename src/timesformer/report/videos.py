"""The videos of a report: the worst, the best, and those whose label may be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from timesformer.evaluation.suspects import suspects
from timesformer.report.clips import Clip, Clips
from timesformer.report.subject import Subject

PLAYED = 12  # failures that play
BEST = 6  # right ones that do
LISTED = 200  # failures in the table, which have a still picture
SUSPECTS = 24


class Row(NamedTuple):
    """A video. path: in the data set. score: of the class that it is classified as; of_label: of its own."""

    path: str
    label: str
    predicted: str
    score: float
    of_label: float
    clip: Clip | None = None
    still: str | None = None


class Gallery(NamedTuple):
    """failures: the most confident first, of `failed` in all; best: right and most confident, of different classes.
    note: what is missing, and why."""

    failures: list[Row]
    failed: int
    best: list[Row]
    suspects: list[Row]
    suspected: int
    note: str


def find_videos(subject: Subject) -> Gallery | None:
    """The videos of a subject's page; None where it has no scores, or a video may have several classes."""
    analysis = subject.analysis
    if analysis is None or analysis.confusion_KK is None:
        return None
    result, clips = analysis.result, Clips(subject.weights)
    number = {label: row for row, label in enumerate(result.labels)}
    score_of = dict(zip(result.paths, result.scores_BK.tolist(), strict=True))
    missing = sum(not path.exists() for path in result.paths)

    def row(path: Path, label: str, predicted: str, plays: bool, pictured: bool = True) -> Row:
        scores = score_of[path]
        shown = subject.shown(path), label, predicted, scores[number[predicted]], scores[number[label]]
        there = path.exists()
        return Row(
            *shown,
            clips.clip(path, predicted) if plays and there else None,
            clips.still(path) if pictured and there else None,
        )

    failures = [
        row(one.path, one.label, one.predicted, rank < PLAYED) for rank, one in enumerate(analysis.mistakes[:LISTED])
    ]
    found = suspects(result)
    best = [row(path, label, label, plays=True, pictured=False) for path, label in _best(subject)]
    suspected = [row(one.path, one.label, one.predicted, plays=False) for one in found[:SUSPECTS]]
    notes = clips.notes
    if missing:
        notes.append(f"{missing} of {len(result.paths)} videos are no longer where they were; they have no picture.")
    return Gallery(
        failures,
        len(analysis.mistakes),
        best,
        suspected,
        len(found),
        " ".join(notes),
    )


def _best(subject: Subject) -> list[tuple[Path, str]]:
    """Right videos of the highest scores, one a class."""
    assert subject.analysis is not None
    result = subject.analysis.result
    best_B, labels_B = result.scores_BK.max(1), result.labels_B
    right = (best_B.indices == labels_B).nonzero()[:, 0].tolist()
    right.sort(key=lambda row: -float(best_B.values[row]))
    of_class: dict[int, int] = {}
    for row in right:
        of_class.setdefault(int(labels_B[row]), row)
    return [(result.paths[row], result.labels[label]) for label, row in list(of_class.items())[:BEST]]
