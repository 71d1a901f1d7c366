"""The picture of a timeline: scores over time of the classes that win anywhere, and under them the segments as bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from timesformer.colours import BLUE, GREEN, INK, ORANGE, PALE, PURPLE, SKY, VERMILION
from timesformer.evaluation.temporal import TrueSegment
from timesformer.files import escape, replacing
from timesformer.inference.segments import ROUNDING, Piece, Segment

# Where there are more classes, the next ones have other lines, and hatched bars. A lane of its own names each class.
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE, "#555555")
LINES, HATCHES = ("-", "--", ":"), ("", "////", "....")
MOST = 16  # classes that are drawn
TRUE, NONE = "#9a9a9a", "#b4b4b4"
WIDTH, DPI = 12.0, 100  # inches; 1200 pixels
STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)  # seconds between two ticks


def draw_timeline(
    parts: Sequence[Piece],
    segments: Sequence[Segment],
    labels: Sequence[str],
    file: Path,
    *,
    title: str = "",
    threshold: float = 0.0,
    truth: Sequence[TrueSegment] | None = None,
) -> None:
    """Write a PNG, 1200 pixels wide.

    parts: the scores of every moment. segments: what was made of them. labels: of all classes. threshold: drawn as a
    line unless it is 0. truth: the ground-truth segments of the video, drawn above the others; None where unknown.

    Classes that win somewhere and have no segment, such as background classes, are grey lines without a name. Of more
    than 16 classes the 16 with the longest segments are drawn, and the picture says how many are not.
    """
    figure = make_figure(parts, segments, labels, title=title, threshold=threshold, truth=truth)
    with replacing(file) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png")


def make_figure(
    parts: Sequence[Piece],
    segments: Sequence[Segment],
    labels: Sequence[str],
    *,
    title: str = "",
    threshold: float = 0.0,
    truth: Sequence[TrueSegment] | None = None,
) -> Figure:
    """As `draw_timeline`."""
    classes, left_out = _classes(segments, truth or ())
    lanes = max(len(classes), 1)
    heights = 3.3, 0.34 * lanes + 0.12
    figure = Figure(figsize=(WIDTH, sum(heights) + 1.1), layout="constrained", facecolor="white")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    edges, scores_NK = _curves(parts, len(labels))
    dense = len(edges) > 500
    nameless = {labels[int(part.scores_K.argmax())] for part in parts} - {one.label for one in segments} - {*classes}
    for number in map(labels.index, sorted(nameless)):
        upper.stairs(scores_NK[:, number], edges, baseline=None, color=NONE, linewidth=0.5 if dense else 1.2)
    for number, name in enumerate(classes):
        line = "-" if dense else LINES[number // len(COLOURS) % len(LINES)]
        style = {"color": COLOURS[number % len(COLOURS)], "linestyle": line, "linewidth": 0.8 if dense else 1.8}
        upper.stairs(scores_NK[:, labels.index(name)], edges, baseline=None, **style)
    if threshold:
        upper.axhline(threshold, color=INK, linewidth=0.9, linestyle=(0, (6, 4)))
        upper.annotate(f"threshold {threshold:g}", (1, threshold), xycoords=("axes fraction", "data"), fontsize=9,
                       xytext=(-2, 3), textcoords="offset points", ha="right", color=INK)  # fmt: skip
    _draw_bars(lower, classes, segments, truth, thinnest=float(edges[-1] - edges[0]) / 800)
    _style(upper, lower, edges, classes)
    upper.set_title(_fitting(title, 70), loc="left", fontsize=11, color=INK, weight="bold", pad=10)
    notes = [f"{left_out} more classes are not drawn"] if left_out else []
    notes += [] if segments else ["no segments"]
    if notes:
        figure.supxlabel("; ".join(notes), fontsize=9, color="#666666")
    marks: list[Artist] = [Line2D([], [], color=NONE, label="wins, without a segment")] if nameless else []
    marks += [] if truth is None else [Patch(color=TRUE, label="true"), Patch(color=INK, label="found")]
    if marks:
        upper.legend(handles=marks, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=10,
                     labelcolor=INK, borderpad=0, handlelength=1.4, handleheight=0.8)  # fmt: skip
    return figure


def _classes(segments: Sequence[Segment], truth: Sequence[TrueSegment]) -> tuple[list[str], int]:
    """The classes to draw, in the order in which they first appear, and how many others there are."""
    lasting: dict[str, float] = {}
    spans = [(one.start, one.end, one.label) for bars in (segments, truth) for one in bars]
    for start, end, label in sorted(spans):
        lasting[label] = lasting.get(label, 0.0) + end - start
    chosen = sorted(lasting, key=lambda name: -lasting[name])[:MOST]
    return [name for name in lasting if name in chosen], len(lasting) - len(chosen)


def _curves(parts: Sequence[Piece], classes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The edges of pieces that follow each other, and their scores, (N, K); NaN in gaps between them."""
    edges, rows = [parts[0].start if parts else 0.0], []
    for part in parts:
        if part.start - edges[-1] > ROUNDING:
            edges.append(part.start)
            rows.append(np.full(classes, np.nan))
        edges.append(part.end)
        rows.append(part.scores_K)
    if not rows:
        return np.array([0.0, 1.0]), np.full((1, classes), np.nan)
    return np.array(edges), np.stack(rows)


def _draw_bars(
    axes: Any,
    classes: list[str],
    segments: Sequence[Segment],
    truth: Sequence[TrueSegment] | None,
    thinnest: float,
) -> None:
    """Bars of at least `thinnest` seconds, so that all are seen."""
    low, high = (0.36, 0.36) if truth is None else (0.38, 0.14)
    for lane, name in enumerate(classes):
        style = {"facecolor": COLOURS[lane % len(COLOURS)], "hatch": HATCHES[lane // len(COLOURS) % len(HATCHES)]}
        found = [(one.start, max(one.end - one.start, thinnest)) for one in segments if one.label == name]
        true = [(one.start, max(one.end - one.start, thinnest)) for one in truth or () if one.label == name]
        axes.broken_barh(found, (-lane - low, low + high), edgecolor="white", linewidth=0, **style)
        axes.broken_barh(true, (-lane + 0.2, 0.18), facecolor=TRUE, linewidth=0)


def _style(upper: Any, lower: Any, edges: NDArray[np.float64], classes: list[str]) -> None:
    upper.set_ylim(0, 1.02)
    upper.set_ylabel("score", fontsize=10, color=INK)
    upper.grid(axis="y", color=PALE, linewidth=0.8)
    lower.set_ylim(-max(len(classes), 1) + 0.5, 0.5)
    lower.set_yticks([-lane for lane in range(len(classes))], [_fitting(escape(name), 36) for name in classes])
    lower.grid(axis="x", color=PALE, linewidth=0.8)
    for lane in range(1, len(classes)):
        lower.axhline(-lane + 0.5, color=PALE, linewidth=0.8)
    start, end = float(edges[0]), float(edges[-1])
    lower.set_xlim(start, end)
    step = next((step for step in STEPS if (end - start) / step <= 12), None)
    if end - start < 6 or step is None:
        lower.xaxis.set_major_locator(MaxNLocator(10))
    else:
        first = -(-start // step) * step
        lower.set_xticks(np.arange(first, end + ROUNDING, step))
    lower.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _clock(value, end)))
    lower.set_xlabel("seconds" if end < 120 else "minutes" if end < 3600 else "hours", fontsize=10, color=INK)
    for axes in (upper, lower):
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color("#888888")
        axes.tick_params(colors=INK, labelsize=9.5)
    lower.spines["left"].set_visible(False)
    lower.tick_params(axis="y", length=0)


def _clock(seconds: float, end: float) -> str:
    """A time beside others up to `end`: 12, 3:20 or 1:02:30."""
    if end < 120:
        return f"{seconds:.3g}"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if end < 3600 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _fitting(text: str, most: int) -> str:
    """The end of a text that is too long for its place; dollars are no formulas."""
    text = text if len(text) <= most else "…" + text[1 - most :]
    return text.replace("$", r"\$")
