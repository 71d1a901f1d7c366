"""The pictures of an analysis: the confusion matrix and the reliability of scores.

Dimensions: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from timesformer.colours import BLUE, INK, PALE, VERMILION
from timesformer.files import escape

if TYPE_CHECKING:
    from timesformer.evaluation.analysis import Bin

NAMED, COUNTED = 60, 30  # classes up to which a confusion matrix has names at its sides, and counts in its cells
LONGEST = 28  # characters of a name


def draw_confusion(confusion_KK: Tensor, labels: Sequence[str], file: Path) -> None:
    """A PNG: a row a class, a column a class that its videos are classified as, coloured by the fraction of the row.

    Up to NAMED classes are named at the sides, more are numbered from 0 in the order of the labels; up to COUNTED have
    their counts in the cells.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    classes = len(labels)
    fractions_KK = confusion_KK.double() / confusion_KK.sum(1, keepdim=True).clamp_min(1)
    side = min(max(2.2, 0.42 * classes), 11.0)
    names = [_short(label) for label in labels]
    margin = 0.085 * max(map(len, names)) if classes <= NAMED else 0.3
    figure = Figure(figsize=(side + margin + 1.6, side + margin + 0.7), layout="constrained", facecolor="white")
    axes = figure.subplots()
    # Where counts do not tell, a root makes small fractions visible.
    norm = PowerNorm(1.0 if classes <= COUNTED else 0.5, vmin=0, vmax=1)
    image = axes.imshow(fractions_KK.numpy(), cmap="Blues", norm=norm, interpolation="nearest")
    size = 9 if classes <= COUNTED else 7
    if classes <= NAMED:
        axes.set_xticks(range(classes), names, rotation=0 if classes < 4 else 90, fontsize=size)
        axes.set_yticks(range(classes), names, fontsize=size)
    else:
        axes.tick_params(labelsize=9)
    if classes <= COUNTED:
        _write_counts(axes, confusion_KK, fractions_KK, size)
    if classes <= NAMED:
        axes.set_xticks([edge - 0.5 for edge in range(1, classes)], minor=True)
        axes.set_yticks([edge - 0.5 for edge in range(1, classes)], minor=True)
        axes.grid(which="minor", color="white", linewidth=0.8)
        axes.tick_params(which="minor", length=0)
    axes.set_xlabel("predicted" if classes <= NAMED else "predicted, number of the class", color=INK)
    axes.set_ylabel("true class" if classes <= NAMED else "true class, by its number", color=INK)
    axes.spines[:].set_color("#999999")
    bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02)
    bar.set_label("fraction of the class", color=INK)
    bar.outline.set_visible(False)
    figure.savefig(file, format="png", dpi=150)


def _write_counts(axes: Any, confusion_KK: Tensor, fractions_KK: Tensor, size: float) -> None:
    for row, column in confusion_KK.nonzero().tolist():
        colour = "white" if float(fractions_KK[row, column]) > 0.5 else INK
        text = str(int(confusion_KK[row, column]))
        written = axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)
        written.set_in_layout(False)  # the layout takes seconds with hundreds of them


def draw_reliability(bins: Sequence[Bin], calibration_error: float, file: Path) -> None:
    """A PNG: the fraction that is right against the score of the best class, bin by bin, over how many videos each has.

    Bars below the diagonal are of scores that promise too much.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 5.6), layout="constrained", facecolor="white")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    full = [one for one in bins if one.videos]
    width = bins[0].high - bins[0].low
    middles = [(one.low + one.high) / 2 for one in full]
    right = [one.right or 0.0 for one in full]
    scores = [one.score or 0.0 for one in full]
    upper.bar(middles, right, width * 0.94, color=BLUE, alpha=0.75, label="fraction right", zorder=2)
    upper.plot([0, 1], [0, 1], color="#777777", linestyle="--", linewidth=1, label="scores that hold", zorder=3)
    points = {"marker": "o", "markersize": 4, "linestyle": "none", "clip_on": False}
    upper.plot(scores, right, color=VERMILION, label="at the mean score", zorder=4, **points)
    upper.set_xlim(0, 1)
    upper.set_ylim(0, 1)
    upper.set_ylabel("fraction right", color=INK)
    upper.set_title(f"calibration error {calibration_error:.3f}", loc="left", fontsize=11, color=INK)
    upper.legend(loc="upper left", frameon=False, fontsize=9)
    lower.bar(middles, [one.videos for one in full], width * 0.94, color="#999999", zorder=2)
    lower.set_ylabel("videos", color=INK)
    lower.set_xlabel("score of the best class", color=INK)
    for axes in (upper, lower):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=PALE, linewidth=0.8)
        axes.set_axisbelow(True)
    figure.savefig(file, format="png", dpi=150)


def _short(label: str) -> str:
    name = escape(label).replace("$", r"\$")  # otherwise a formula
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
