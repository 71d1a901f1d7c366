"""The results of a run of folds or seeds as a table."""

from __future__ import annotations

import statistics

from timesformer.data.layouts import some
from timesformer.evaluation.metrics import NAMES
from timesformer.folds.parts import FoldsResult

WIDE = 0.1  # an interval of which it is said what to do about it
COLUMNS = 80


def results_table(result: FoldsResult) -> list[str]:
    """Lines of at most 80 columns: each fold (or seed), mean and standard deviation, and the interval."""
    unit = "seed" if result.folds is None else "fold"
    metrics = {name: text for name, text in NAMES.items() if all(name in part.metrics for part in result.parts)}
    columns = [result.means(name) for name in metrics]
    shown = result.parts if result.folds is None else result.parts[: result.count]  # the folds of the first seed

    def line(name: object, videos: object, cells: list[str], groups: str = "") -> str:
        text = [f"{name!s:9}", f"{videos!s:>6}", *map(_right, cells, metrics.values()), groups]
        return _cut("  ".join(text).rstrip())

    lines = [line(unit, "videos", list(metrics.values()), result.group or "")]
    for number, part in enumerate(shown):
        cells = [f"{values[number]:.4f}" for values in columns]
        lines.append(line(getattr(part, unit), part.metrics["videos"], cells, some(part.groups)))
    lines.append(line("mean", result.tested, [f"{statistics.fmean(values):.4f}" for values in columns]))
    lines.append(line("std. dev.", "", [f"{statistics.stdev(values):.4f}" for values in columns]))
    return [*lines, summarise(result), *_notes(result)]


def summarise(result: FoldsResult) -> str:
    """The mean and its interval in a line."""
    low, high = result.interval
    unit = "seed" if result.folds is None else "fold"
    return (
        f"{NAMES[result.metric]} {result.mean:.3f} over {len(result.scores)} {unit}s, "
        f"95% interval {low:.3f} to {high:.3f}, {result.tested} videos"
    )


def _notes(result: FoldsResult) -> list[str]:
    low, high = result.interval
    lines = []
    if result.folds is not None and len(result.seeds) > 1:
        found = result.seed_scores
        each = ", ".join(f"{score:.3f}" for score in found)
        lines.append(_cut(f"{len(found)} seeds: from {min(found):.3f} to {max(found):.3f} ({each})"))
    if high - low > WIDE:
        how = "in folds, which test more videos" if result.folds is None else "fold by fold, not by their means"
        lines.append(f"note    the interval is {high - low:.2f} wide: compare runs {how}")
    return lines


def _right(cell: str, head: str) -> str:
    return cell.rjust(max(6, len(head)))


def _cut(line: str) -> str:
    return line if len(line) <= COLUMNS else f"{line[: COLUMNS - 3]}..."
