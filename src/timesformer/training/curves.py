"""The metrics of a run: RUN/logs/metrics.csv, and RUN/curves.png drawn from it.

A row holds what was known after an optimiser step: the loss of its last batch and the learning rate, and after an epoch
the means over it and the validation metrics. A resumed run cuts the rows that came after its checkpoint, so that the
file ends as that of a run that was never stopped.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from timesformer.files import replacing

COLUMNS = (
    "step",
    "epoch",
    "batch_loss",
    "learning_rate",
    "train_loss",
    "train_top1",
    "val_loss",
    "val_top1",
    "val_top5",
    "val_map",
)
# Each with its name and its colour: blue is training, orange and green are validation.
LOSSES = {"train_loss": ("training", "C0"), "val_loss": ("validation", "C1")}
SCORES = {
    "train_top1": ("training, top-1", "C0"),
    "val_top1": ("validation, top-1", "C1"),
    "val_top5": ("validation, top-5", "C2"),
    "val_map": ("validation, mAP", "C1"),
}


class MetricsFile(Logger):
    """A CSV file of one row a step that is logged.

    `steps`: optimiser steps that a resumed run has taken; rows of later ones are dropped. 0 for a new run.
    """

    def __init__(self, file: Path, steps: int = 0) -> None:
        super().__init__()
        self.file = file
        kept = [row for row in read_metrics(file) if int(row["step"]) <= steps] if file.exists() else []
        self._rewrite(kept)

    @rank_zero_only
    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
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
            csv.DictWriter(stream, COLUMNS).writerow({"step": step} | metrics)


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
    for axes, shown in ((upper, LOSSES), (middle, SCORES)):
        for column, (label, color) in shown.items():
            if points(column)[0]:
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
