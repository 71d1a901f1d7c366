"""What the rows of a study say of its cells: means, how far they may be off, and whether a cell differs from the
reference by more than chance.

Dimensions: B videos, K classes, R resamples.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from timesformer.errors import DataError
from timesformer.evaluation.bootstrap import Measure, intervals, measures
from timesformer.evaluation.compare import compare, same_videos
from timesformer.evaluation.interval import Interval, are_equal, grouped_interval, mean_interval, paired_p_value
from timesformer.evaluation.score_files import Scores, read_scores
from timesformer.study.grid import Cell
from timesformer.study.plan import StudyPlan
from timesformer.study.results import METRICS, Row


@dataclass(frozen=True)
class Difference:
    """A cell less the reference, with the same seeds on the same videos.

    value: of the means. videos: its 95% interval by the paired bootstrap of the videos, or of their groups, each with
    its mean over the seeds: whether other videos would say the same of these networks. seeds: the 95% interval of
    Student's over the seeds: whether other trainings would say the same of these videos; None of one seed, and where
    all seeds have the same difference, which shows no spread. p_value: of the paired t-test over the seeds, None as
    `seeds`; of one seed, of McNemar's exact test over the videos, None of videos with several classes. pairs: seeds.
    """

    value: float
    videos: Interval
    seeds: Interval | None
    p_value: float | None
    pairs: int

    @property
    def is_clear(self) -> bool:
        """Whether no interval has zero in it, and none is missing that several seeds should give."""
        if self.pairs > 1 and self.seeds is None:
            return False
        return all(found.low > 0 or found.high < 0 for found in (self.videos, self.seeds) if found is not None)


@dataclass(frozen=True)
class CellSummary:
    """A cell of a study.

    rows: of all its seeds. mean: of the scores of those that are done, None where none is. interval: 95% of the mean:
    of Student's over the seeds and of what so many videos allow, from the lower to the higher end. difference: from the
    reference; None of the reference itself, and where there is no seed that both have. videos: that interval and
    difference are of: those that no test of the cell or of the reference has skipped.
    """

    cell: Cell
    rows: tuple[Row, ...]
    mean: float | None = None
    interval: Interval | None = None
    difference: Difference | None = None
    videos: int | None = None

    @property
    def done(self) -> list[Row]:
        """The rows that have a score."""
        return [row for row in self.rows if row.test_score is not None]

    @property
    def reasons(self) -> list[str]:
        """Why seeds have failed, each reason once."""
        return list(dict.fromkeys(row.reason for row in self.rows if row.reason))

    def mean_of(self, name: str) -> float | None:
        """The mean of another number of the rows; None where it is not known."""
        values = [value for row in self.done if (value := getattr(row, name)) is not None]
        return statistics.fmean(values) if values else None


def summarise(plan: StudyPlan, rows: Sequence[Row]) -> list[CellSummary]:
    """The cells of a study, in the order of its table. rows: those of its tasks, in their order."""
    of_cell: dict[str, list[tuple[Row, Scores | None]]] = {}
    for task, row in zip(plan.tasks, rows, strict=True):
        scores = None if row.test_score is None else read_scores(task.run.scores(task.cell.protocol))
        of_cell.setdefault(task.cell.name, []).append((row, scores))
    reference = {row.seed: scores for row, scores in of_cell.get(plan.reference, []) if scores is not None}
    found = []
    for cell in plan.cells:
        both = of_cell[cell.name]
        own = {row.seed: scores for row, scores in both if scores is not None}
        summary = CellSummary(cell, tuple(row for row, _ in both))
        if own:
            values = [float(row.test_score) for row in summary.done if row.test_score is not None]
            seeds = [] if cell.name == plan.reference else [seed for seed in own if seed in reference]
            runs = on_common_videos([*own.values(), *(reference[seed] for seed in seeds)])
            of_seed = dict(zip(own, runs, strict=False))
            pairs = [(runs[len(own) + number], of_seed[seed]) for number, seed in enumerate(seeds)]
            summary = CellSummary(
                cell,
                summary.rows,
                statistics.fmean(values),
                _interval(values, runs[: len(own)]),
                _difference(pairs) if pairs else None,
                len(runs[0].videos),
            )
        found.append(summary)
    return found


def on_common_videos(runs: Sequence[Scores]) -> list[Scores]:
    """The scores of the videos that are in all of them: a test skips what it cannot read. Raises DataError for none."""
    common = Counter(runs[0].videos)
    for one in runs[1:]:
        common &= Counter(one.videos)
    if not common:
        raise DataError(f"{runs[0].path}: has no video that is in {', '.join(str(one.path) for one in runs[1:3])} too")
    return [_of_videos(one, common) for one in runs]


def _of_videos(scores: Scores, wanted: Counter[str]) -> Scores:
    left, rows = wanted.copy(), []
    for row, video in enumerate(scores.videos):
        if left[video]:
            left[video] -= 1
            rows.append(row)
    if len(rows) == len(scores.videos):
        return scores
    return replace(
        scores,
        videos=tuple(scores.videos[row] for row in rows),
        scores_BK=scores.scores_BK[rows],
        labels_B=scores.labels_B[rows],
        groups=None if scores.groups is None else tuple(scores.groups[row] for row in rows),
    )


def _interval(values: Sequence[float], runs: Sequence[Scores]) -> Interval:
    """The 95% interval of the mean of several runs on the same videos."""
    first = runs[0]
    if first.labels_B.ndim == 1:
        rights = [(one.scores_BK.argmax(1) == one.labels_B).double()[same_videos(first, one)] for one in runs]
        found = grouped_interval(torch.stack(rights).mean(0), first.groups or range(len(first.videos)))
    else:
        found = intervals({"": _mean([_metric(first, one) for one in runs])}, len(first.videos), first.groups)[""]
    if len(values) == 1:
        return found
    seeds = mean_interval(values)
    return Interval(max(0.0, min(found.low, seeds.low)), min(1.0, max(found.high, seeds.high)))


def _difference(pairs: Sequence[tuple[Scores, Scores]]) -> Difference:
    """Of pairs of runs with the same seed: (reference, cell)."""
    first = pairs[0][0]
    references = [_metric(first, reference) for reference, _ in pairs]
    cells = [_metric(first, cell) for _, cell in pairs]
    once_B = torch.ones(1, len(first.videos), dtype=torch.float64)
    values = [float(cell(once_B) - reference(once_B)) for reference, cell in zip(references, cells, strict=True)]
    reference, cell = _mean(references), _mean(cells)

    def measure(weights_RB: Tensor) -> Tensor:
        return cell(weights_RB) - reference(weights_RB)

    videos = intervals({"": measure}, len(first.videos), first.groups, lowest=-1)[""]
    if len(pairs) == 1:
        return Difference(values[0], videos, None, compare(*pairs[0]).p_value, 1)
    seeds = None if are_equal(values) else mean_interval(values)
    return Difference(statistics.fmean(values), videos, seeds, paired_p_value(values), len(pairs))


def _metric(first: Scores, scores: Scores) -> Measure:
    """The score of a run as a function of weights of the videos, in the order that they have in `first`."""
    rows = same_videos(first, scores)
    found = measures(scores.scores_BK[rows], scores.labels_B[rows])
    return next(found[name] for name in METRICS if name in found)


def _mean(of: Sequence[Measure]) -> Measure:
    def measure(weights_RB: Tensor) -> Tensor:
        return torch.stack([one(weights_RB) for one in of]).mean(0)

    return measure
