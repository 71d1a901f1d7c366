"""The metrics of a run: RUN/logs/metrics.csv, and RUN/curves.png drawn from it.

A row holds what was known after an optimiser step: the loss of its last batch and the learning rate, and after an epoch
the means over it and the validation metrics. A resumed run cuts the rows that came after its checkpoint, so that the
file ends as that of a run that was never stopped.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from timesformer.evaluation.metrics import NAMES
from timesformer.files import replacing

# What metrics are of, as their names begin; `timesformer.evaluation.metrics.NAMES` has what they are, as they end.
SPLITS = {"train": "training", "val": "validation", "test": "test split"}
COLOURS = {"top5": "C2", "mean_class_accuracy": "C3", "auc": "C4"}  # of validation curves that are not C1


def metric_names(split: str | None, classes: int, *, multilabel: bool = False) -> tuple[str, ...]:
    """The columns of the metrics of a run that is validated on `split`, if on any: "val" or "test"."""
    names = ["step", "epoch", "batch_loss", "learning_rate", "train_loss"]
    top5, auc = ["top5"] * (classes > 5), ["auc"] * (classes == 2)
    scores = ["map"] if multilabel else ["top1", *top5, "mean_class_accuracy", *auc]
    names += [] if multilabel else ["train_top1"]
    names += [f"{split}_{name}" for name in ("loss", *scores)] if split else []
    return tuple(names)


class MetricsFile(Logger):
    """A CSV file of one row a step that is logged.

    `columns`: as `metric_names` has them; those of the rows that are kept stay. `steps`: optimiser steps that a resumed
    run has taken; rows of later ones are dropped. 0 for a new run.
    """

    def __init__(self, file: Path, columns: Sequence[str], steps: int = 0) -> None:
        super().__init__()
        self.file = file
        kept = [row for row in read_metrics(file) if int(row["step"]) <= steps] if file.exists() else []
        before = tuple(kept[0]) if kept else ()
        self.columns = (*before, *(name for name in columns if name not in before))
        self._rewrite(kept)

    @rank_zero_only
    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, self.columns)
            writer.writeheader()
            writer.writerows(rows)

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """The recipe has a file of its own."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row."""
        with self.file.open("a", newline="", encoding="utf-8") as stream:
            csv.DictWriter(stream, self.columns).writerow({"step": step} | metrics)


def read_metrics(file: Path) -> list[dict[str, str]]:
    """The rows of a metrics file, but for a last one that is torn."""
    with file.open(newline="", encoding="utf-8") as stream:
        text = stream.read()
    lines = text[: text.rfind("\n") + 1].splitlines()
    return list(csv.DictReader(lines))


def draw_curves(metrics: Path, picture: Path) -> None:
    """Losses, accuracies and the learning rate against epochs, as a PNG."""
    from matplotlib.figure import Figure

    rows = read_metrics(metrics)

    def points(column: str) -> tuple[list[float], list[float]]:
        found = [(float(row["epoch"]), float(row[column])) for row in rows if row[column]]
        return [x for x, _ in found], [y for _, y in found]

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    upper, middle, lower = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    dot = "." if len(points("batch_loss")[0]) == 1 else ""  # one point makes no line
    upper.plot(*points("batch_loss"), color="0.8", linewidth=0.8, marker=dot, label="a batch")
    for column in rows[0] if rows else ():
        split = next((name for name in SPLITS if column.startswith(f"{name}_")), None)
        if split and points(column)[0]:
            kind = column.removeprefix(f"{split}_")
            axes, label = (upper, SPLITS[split]) if kind == "loss" else (middle, f"{SPLITS[split]}, {NAMES[kind]}")
            color = "C0" if split == "train" else COLOURS.get(kind, "C1")
            axes.plot(*points(column), marker=".", clip_on=False, color=color, label=label)
    upper.set_ylabel("loss")
    middle.set_ylabel("score")
    middle.set_ylim(0, 1)
    lower.plot(*points("learning_rate"), color="0.4", marker=dot)
    lower.set_xlim(0, max([float(row["epoch"]) for row in rows], default=1) * 1.01)
    lower.set_ylabel("learning rate")
    lower.set_xlabel("epoch")
    for axes in (axes for axes in (upper, middle) if axes.lines):
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    for axes in (upper, middle, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    with replacing(picture) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
