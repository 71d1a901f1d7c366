"""The figure of a study: bars of cells, or lines against what varies, with intervals and the paper's own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from timesformer.colours import BLUE, GREEN, INK, PALE, PURPLE, SKY, VERMILION
from timesformer.files import replacing
from timesformer.study.grid import Study
from timesformer.study.summary import CellSummary

FIGURE = "figure.png"
OURS, SEED, MUTED = BLUE, SKY, "#666666"
PAPER = ((VERMILION, "D"), (GREEN, "s"), (PURPLE, "^"))
WIDTH = 7.6  # inches


def draw_study(study: Study, summaries: Sequence[CellSummary], reference: str, metric: str, path: Path) -> None:
    """Write the picture, whole or not at all. metric: what the scores are, such as "top-1"."""
    figure = make_figure(study, summaries, reference, metric)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def make_figure(study: Study, summaries: Sequence[CellSummary], reference: str, metric: str) -> Figure:
    """Scores in %, their 95% intervals, and each seed's own."""
    known = [one for one in summaries if one.mean is not None]
    if study.figure == "lines" and all(one.cell.x is not None for one in summaries):
        return _lines(study, known, metric)
    return _bars(study, summaries, reference, metric)


def _bars(study: Study, summaries: Sequence[CellSummary], reference: str, metric: str) -> Figure:
    figure = Figure(figsize=(WIDTH, 1.5 + 0.42 * len(summaries)), layout="constrained", facecolor="white")
    plot = figure.subplots()
    for row, one in enumerate(summaries):
        if one.mean is None or one.interval is None:
            plot.text(1, row, "failed" if one.reasons else "missing", va="center", color=MUTED, fontsize=9)
            continue
        low, high = (100 * end for end in one.interval)
        plot.barh(row, 100 * one.mean, height=0.62, color=OURS, alpha=0.9 if one.cell.name == reference else 0.55)
        plot.plot([low, high], [row, row], color=INK, linewidth=1.6, solid_capstyle="butt", zorder=3)
        _seeds(plot, one, [row] * len(one.done), horizontal=True)
        for (colour, marker), number in zip(PAPER, one.cell.paper, strict=False):
            if number is not None:
                plot.plot(number, row, marker=marker, markersize=7, markerfacecolor="white", markeredgecolor=colour,
                          markeredgewidth=1.8, linestyle="none", zorder=4)  # fmt: skip
    plot.set_yticks(range(len(summaries)), [one.cell.name.replace("_", " ") for one in summaries])
    for text, one in zip(plot.get_yticklabels(), summaries, strict=True):
        text.set_fontweight("bold" if one.cell.name == reference else "normal")
    plot.invert_yaxis()
    plot.set_xlim(0, 100)
    plot.set_xlabel(f"{metric}, %", color=INK)
    _finish(figure, plot, study, "x")
    _legend(figure, [_bar_mark(), *_paper_marks(study)])
    return figure


def _lines(study: Study, summaries: Sequence[CellSummary], metric: str) -> Figure:
    names = list(dict.fromkeys(one.cell.line for one in summaries)) or [""]
    figure = Figure(figsize=(max(5.2, 4.4 * len(names)), 3.9), layout="constrained", facecolor="white")
    plots = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for plot, name in zip(plots, names, strict=True):
        line = sorted((one for one in summaries if one.cell.line == name), key=lambda one: one.cell.x or 0)
        places = [float(one.cell.x or 0) for one in line]
        means = [100 * (one.mean or 0) for one in line]
        ends = [one.interval for one in line]
        lows, highs = ([100 * end[side] for end in ends if end is not None] for side in (0, 1))
        plot.fill_between(places, lows, highs, color=SEED, alpha=0.25, linewidth=0)
        plot.plot(places, means, color=OURS, marker="o", markersize=5.5, linewidth=2, clip_on=False, zorder=3)
        for one, place in zip(line, places, strict=True):
            _seeds(plot, one, [place] * len(one.done), horizontal=False)
        for column, (colour, marker) in enumerate(PAPER[: len(study.paper_columns)]):
            known = [(one.cell.x, one.cell.paper[column]) for one in line if one.cell.paper]
            style: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.8}
            if known:
                plot.plot(*zip(*known, strict=True), marker, markersize=7, zorder=4, **style)
        plot.set_xticks(places, [f"{place:g}" for place in places])
        plot.set_xlabel(name or study.axis, color=INK)
        _finish(figure, plot, study, "y")
    plots[0].set_ylabel(f"{metric}, %", color=INK)
    _legend(figure, [_line_mark(), *_paper_marks(study)])
    return figure


def _seeds(plot: Axes, one: CellSummary, places: Sequence[float], *, horizontal: bool) -> None:
    """A dot for each seed, where there are several."""
    values = [100 * (row.test_score or 0) for row in one.done]
    if len(values) > 1:
        found = (values, places) if horizontal else (places, values)
        plot.plot(
            *found, "o", markersize=4, markerfacecolor="white", markeredgecolor=INK, markeredgewidth=0.9, zorder=5
        )


def _finish(figure: Figure, plot: Axes, study: Study, axis: Any) -> None:
    plot.grid(axis=axis, color=PALE, linewidth=0.8)
    plot.set_axisbelow(True)
    plot.spines[["top", "right"]].set_visible(False)
    plot.tick_params(colors=INK, labelsize=9.5)
    if study.figure == "bars":
        plot.tick_params(axis="y", length=0)
    figure.suptitle(f"{study.title[0].upper()}{study.title[1:]}", fontsize=11.5, color=INK, x=0.02, ha="left")


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9,
                  labelcolor=INK, handlelength=1.6, columnspacing=1.6)  # fmt: skip


def _paper_marks(study: Study) -> list[Any]:
    pairs = zip(PAPER, study.paper_columns, strict=False)
    return [_mark(colour, marker, f"paper, {name}") for (colour, marker), name in pairs]


def _mark(colour: str, marker: str, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", marker=marker, markersize=7, markerfacecolor="white",
                  markeredgecolor=colour, markeredgewidth=1.8, label=label)  # fmt: skip


def _bar_mark() -> Any:
    from matplotlib.patches import Patch

    return Patch(color=OURS, alpha=0.75, label="mean here; line: 95% interval; dots: seeds")


def _line_mark() -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=OURS, marker="o", linewidth=2, label="mean; shaded: 95% interval; dots: seeds")
