"""An evaluation in ten lines, for people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from timesformer.data.quarantine import inside
from timesformer.evaluation.analysis import Analysis, ClassScore
from timesformer.evaluation.metrics import metric_name

NAME = 23  # width of the first column


def analysis_table(analysis: Analysis, folder: Path, width: int = 80) -> list[str]:
    """Lines of at most `width` columns: each metric with its 95% interval, then the classes with the lowest recall,
    the most confused pairs, the most confident mistakes and the lowest scores by a column, as many as fit a line.

    folder: of the data set; videos are named by their paths in it.
    """
    lines = []
    for name, value in analysis.metrics.items():
        line = f"{metric_name(name):{NAME}}{value:.4f}"
        if interval := analysis.intervals.get(name):
            line += f"  95% {interval.low:.3f} to {interval.high:.3f}"
        if name == "top1" and analysis.majority:
            line += f"; most frequent class {analysis.majority[1]:.3f}"
        lines.append(line)
    several = analysis.confusion_KK is None
    lists = {
        "lowest precision" if several else "recall (precision)": _weakest(analysis.classes),
        "most confused": (f"{pair.label} as {pair.predicted} {pair.videos}" for pair in analysis.confusions),
        "worst videos": (
            f"{inside(folder, mistake.path)} as {mistake.predicted} {mistake.score:.2f}"
            for mistake in analysis.mistakes
        ),
    }
    if analysis.column is not None:
        lists[f"lowest {analysis.column}"] = (
            f"{part.value or '(none)'} {part.score:.2f} of {part.videos}" for part in analysis.parts
        )
    for name, items in lists.items():
        if shown := _fitting(items, width - NAME):
            lines.append(f"{_cut(name, NAME - 1):{NAME}}{shown}")
    return lines


def _weakest(classes: Iterable[ClassScore]) -> Iterable[str]:
    """The classes that occur, the lowest score first."""
    occurring = [one for one in classes if one.videos]
    if any(one.average_precision is not None for one in occurring):
        occurring.sort(key=lambda one: one.average_precision or 0.0)
        return (f"{one.label} {one.average_precision:.2f}" for one in occurring)
    occurring.sort(key=lambda one: one.recall or 0.0)
    return (f"{one.label} {one.recall:.2f} ({_number(one.precision)})" for one in occurring)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _fitting(items: Iterable[str], width: int) -> str:
    """As many of the first items as fit, and the first one, cut short, where it alone is too long."""
    shown = ""
    for item in items:
        longer = f"{shown}, {item}" if shown else item
        if len(longer) > width:
            break
        shown = longer
    else:
        return shown
    return shown or _cut(item, width)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
