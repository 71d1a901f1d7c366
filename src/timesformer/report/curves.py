"""Learning curves as drawings in the page, whose colours are its own, light or dark."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape  # of jinja2

from timesformer.evaluation.metrics import NAMES
from timesformer.report.run import Run, floor_rows
from timesformer.training.curves import SPLITS

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 10, 32  # margins
POINTS = 400  # of a line, at most
DASHES = ("", "7 4")  # of the first and of the second run


class Line(NamedTuple):
    """A line of a chart. colour: the number of a series, 0 for grey; run: the number of the run."""

    name: str
    points: list[tuple[float, float]]
    colour: int
    run: int = 0
    thin: bool = False


class Chart(NamedTuple):
    """A drawing, and what its lines and dotted lines are called."""

    title: str
    drawing: Markup
    lines: list[Line]
    floors: Sequence[tuple[str, float]]


def learning_curves(runs: Sequence[Run]) -> list[Chart]:
    """Losses, scores and learning rate against epochs, of one run or of two together; no chart of what is not known."""
    losses, scores, rates, floors = list[Line](), list[Line](), list[Line](), list[tuple[str, float]]()
    for number, run in enumerate(runs):
        losses.append(Line("a batch", _points(run, "batch_loss"), 0, number, thin=True))
        rates.append(Line("learning rate", _points(run, "learning_rate"), 1, number))
        for column in run.metrics[0] if run.metrics else ():
            split = next((name for name in SPLITS if column.startswith(f"{name}_")), None)
            kind = column.removeprefix(f"{split}_")
            if split is None or (kind != "loss" and kind not in NAMES):
                continue
            name = SPLITS[split] if kind == "loss" else f"{SPLITS[split]}, {NAMES[kind]}"
            colour = 1 if split == "train" else {"top5": 3, "mean_class_accuracy": 4, "auc": 5}.get(kind, 2)
            (losses if kind == "loss" else scores).append(Line(name, _points(run, column), colour, number))
        metric = "map" if any("val_map" in row or "test_map" in row for row in run.metrics[:1]) else "top1"
        floors += floor_rows(run.floors, metric)
    charts = [
        chart("Loss", losses),
        chart("Score", scores, (0.0, 1.0), list(dict.fromkeys(floors))),
        chart("Learning rate", rates, height=150),
    ]
    return [one for one in charts if one is not None]


def chart(
    title: str,
    lines: Sequence[Line],
    limits: tuple[float, float] | None = None,
    floors: Sequence[tuple[str, float]] = (),
    height: int = HEIGHT,
) -> Chart | None:
    """A drawing of lines over epochs; None where there is no point. floors: values that get a dotted line."""
    shown = [line for line in lines if line.points]
    if not shown:
        return None
    right = max(x for line in shown for x, _ in line.points) or 1.0
    values = sorted(y for line in shown for _, y in line.points)
    if limits is None:  # the few highest losses of the first steps would flatten the rest
        top = max(
            values[int(0.995 * (len(values) - 1))], *(y for line in shown if not line.thin for _, y in line.points), 0
        )
        limits = (0.0, top * 1.04 or 1.0)
    low, high = limits
    marks = _ticks(low, high, 5 if height == HEIGHT else 2)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / right
        return across, TOP + (height - TOP - BOTTOM) * (1 - (min(y, high) - low) / (high - low))

    parts = []
    for mark in marks:
        _, y = place(0, mark)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{_number(mark, marks)}</text>')
    for mark in _ticks(0, right, 8):
        x, _ = place(mark, low)
        parts.append(f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle">{mark:g}</text>')
    for name, value in floors:
        _, y = place(0, value)
        parts.append(
            f'<line class="floor" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}">'
            f"<title>{escape(name)} {value:.3f}</title></line>"
        )
    for line in sorted(shown, key=lambda line: not line.thin):
        parts += [_drawn(line, [place(*point) for point in _thinned(line.points)])]
    ends = "; ".join(f"{line.name} ends at {line.points[-1][1]:.4g}" for line in shown if not line.thin)
    drawing = (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)} over epochs: '
        f'{escape(ends)}">{"".join(parts)}</svg>'
    )
    return Chart(title, Markup(drawing), shown, floors)


def _drawn(line: Line, places: Sequence[tuple[float, float]]) -> str:
    colour = f"var(--series-{line.colour})" if line.colour else "var(--muted)"
    style = f"stroke:{colour}" + (f";stroke-dasharray:{DASHES[line.run]}" if line.run else "")
    kind = "line thin" if line.thin else "line"
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = (
        ""
        if (line.thin and len(places) > 1) or len(places) > 40
        else "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" style="fill:{colour}"/>' for x, y in places)
    )
    return f'<path class="{kind}" d="{path}" style="{style}"/>{dots}'


def _points(run: Run, column: str) -> list[tuple[float, float]]:
    rows = ((row.get("epoch"), row.get(column)) for row in run.metrics)
    found = [(float(epoch), float(value)) for epoch, value in rows if epoch and value]
    return [(x, y) for x, y in found if math.isfinite(y)]


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """So many points that a line of them looks the same."""
    step = math.ceil(len(points) / POINTS)
    return [*points[:-1:step], points[-1]] if step > 1 else points


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from low to high, about so many."""
    span = (high - low) / count
    power = 10.0 ** math.floor(math.log10(span))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span * 0.999)
    first = math.ceil(low / step)
    marks = (number * step for number in itertools.count(first))
    return [round(mark, 10) for mark in itertools.takewhile(lambda mark: mark <= high * (1 + 1e-9), marks)]


def _number(mark: float, marks: Sequence[float]) -> str:
    return f"{mark:.0e}".replace("e-0", "e-") if mark and max(marks) < 0.005 else f"{mark:g}"
