"""The picture of `timesformer bench cost`: multiply-accumulates, time and memory against resolution and frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from timesformer.bench.sweep import Point, Row, Sweep
from timesformer.colours import BLUE, GREEN, INK, PALE, PURPLE, VERMILION
from timesformer.files import replacing

# A colour, and a marker for print without colour.
LOOKS = {
    "space_only": ("#7f7f7f", "s", "space only"),
    "joint_space_time": (VERMILION, "o", "joint space-time"),
    "divided_space_time": (BLUE, "D", "divided space-time"),
    "sparse_local_global": (GREEN, "^", "sparse local-global"),
    "axial": (PURPLE, "v", "axial"),
}
ENDS = {"out of memory": "out of memory", "too slow": "over the time limit", "failed": "failed"}
AXES = {"image_size": "side of a frame, pixels", "frames": "frames of a clip"}


class Panel(NamedTuple):
    """What a column shows: its title, and the value of a row in its unit."""

    title: str
    value: Callable[[Row], float | None]


PANELS = (
    Panel("multiply-accumulates of a clip, T", lambda row: row.macs / 1e12),
    Panel("time of a {work}, s", lambda row: row.seconds),
    Panel("peak memory, GB", lambda row: None if row.memory is None else row.memory / 1e9),
)


def draw(rows: Sequence[Row], sweep: Sweep, path: Path) -> None:
    """Write the picture of a sweep's rows as PNG (or another of matplotlib's formats, by the path's suffix)."""
    with replacing(path) as temporary:
        make_figure(rows, sweep).savefig(temporary, dpi=130, format=path.suffix.removeprefix("."))


def make_figure(rows: Sequence[Row], sweep: Sweep) -> Figure:
    """Two rows of plots, against resolution and against frames; a column for each of `PANELS`."""
    found = {row.point: row for row in rows}
    style: dict[str, Any] = {"color": INK, "fontsize": 10}
    figure = Figure(figsize=(12.5, 7.4), layout="constrained", facecolor="white")
    grid = figure.subplots(2, len(PANELS))
    ended = set()
    for line, (axis, shapes) in zip(grid, sweep.axes().items(), strict=True):
        for plot, panel in zip(line, PANELS, strict=True):
            for scheme in sweep.schemes:
                curve = [found.get(Point(scheme, *shape)) for shape in shapes]
                ended |= _draw_curve(plot, [row for row in curve if row is not None], axis, panel)
            places = [shape[1 if axis == "image_size" else 0] for shape in shapes]
            plot.set_xticks(places, [str(place) for place in places])
            plot.set_ylim(bottom=0)
            plot.set_xlabel(AXES[axis], **style)
            plot.grid(axis="y", color=PALE, linewidth=0.8)
            plot.set_axisbelow(True)
            plot.spines[["top", "right"]].set_visible(False)
            plot.tick_params(colors=INK, labelsize=9)
    work = "training step" if sweep.train else "forward pass"
    for plot, panel in zip(grid[0], PANELS, strict=True):
        plot.set_title(panel.title.format(work=work), loc="left", fontsize=11, color=INK, pad=10)
    frames, side = sweep.frame_counts[0], sweep.sizes[0]
    for line, text in zip(grid, (f"{frames} frames", f"{side} x {side} pixels"), strict=True):
        line[0].set_ylabel(text, fontsize=11, color=INK, weight="bold", labelpad=10)
    lines = [line for line in grid[0][0].get_lines() if not line.get_label().startswith("_")]
    marks = [_mark(status) for status in ENDS if status in ended]
    figure.legend(
        handles=[*lines, *marks],
        loc="outside upper center",
        ncols=len(lines) + len(marks),
        frameon=False,
        fontsize=10.5,
        labelcolor=INK,
        handlelength=1.8,
        columnspacing=1.6,
    )
    ran = sorted({row.ran for row in rows if row.status == "ok"})
    figure.supxlabel(f"{sweep.size} model, batch {sweep.batch}; {'; '.join(ran)}", fontsize=9, color="#666666")
    return figure


def _draw_curve(plot: Any, rows: list[Row], axis: str, panel: Panel) -> set[str]:
    """One scheme in one panel; where it ends early, a cross at its last figure. Returns how it ended, if it did."""
    measured = [row for row in rows if panel.value(row) is not None]
    ends = [row for row in rows if row.status != "ok"]
    if not measured:
        return {row.status for row in ends}
    colour, marker, label = LOOKS[measured[0].scheme]
    places, values = [getattr(row, axis) for row in measured], [panel.value(row) for row in measured]
    plot.plot(places, values, color=colour, marker=marker, markersize=5.5, linewidth=2, label=label, clip_on=False)
    if ends and len(measured) < len(rows):
        plot.plot([places[-1]], [values[-1]], clip_on=False, **_cross(ends[0].status, colour))
    return {row.status for row in ends}


def _cross(status: str, colour: str = "white") -> dict[str, Any]:
    marker = {"out of memory": "X", "too slow": "P", "failed": "*"}[status]
    return {
        "marker": marker,
        "markersize": 12,
        "markerfacecolor": INK,
        "markeredgecolor": colour,
        "markeredgewidth": 1.5,
        "linestyle": "none",
        "zorder": 5,
    }


def _mark(status: str) -> Line2D:
    return Line2D([], [], label=f"ends here: {ENDS[status]}", **_cross(status))
