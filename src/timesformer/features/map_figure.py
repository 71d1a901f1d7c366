"""A map of features as a picture: a point a row, classes named where most of their points are, and beside the map.

Dimensions: N points, L names on the map.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from timesformer.colours import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION
from timesformer.features.markers import OTHER, SHAPES, Marker, markers_of
from timesformer.features.projection import UNLABELLED, Projection
from timesformer.files import escape, replacing

NOTE, GREY, LINE = "#555555", "#a8a8a8", "#d8d8d8"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
ALL = Marker(0, "circle")  # where no row has a class
CODES = dict(zip((*SHAPES, OTHER.shape), "os^DXvP*.", strict=True))
SIDE, DPI = 8.4, 120  # inches of the map
IN_COLUMN, LONGEST = 28, 26  # classes below each other in the legend; characters of a name
STEPS, FAR = 300, 25  # of moving names apart; pixels from where a name would be to where a line leads back
TEXT: Any = {"text.parse_math": False, "font.size": 10, "text.color": INK}  # names are no formulas


def save_map_figure(projection: Projection, title: str, file: Path) -> None:
    """Write a PNG. title: what was mapped, such as the file of features."""
    with replacing(file) as temporary, rc_context(TEXT):
        draw_map(projection, title).savefig(temporary, dpi=DPI, format="png")


def draw_map(projection: Projection, title: str) -> Figure:
    """As `save_map_figure`, not saved."""
    markers, counts = markers_of(projection), Counter(projection.labels)
    rows = legend_rows(projection, markers, counts)
    columns = -(-len(rows) // IN_COLUMN)
    longest = max((len(name) for name, _, _ in rows), default=0)
    size = (0.5 + SIDE + columns * (0.085 * longest + 0.75) + 0.2, SIDE + 1.15)
    with rc_context(TEXT):
        figure = Figure(figsize=size, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.5 / size[0], 0.35 / size[1], SIDE / size[0], SIDE / size[1]))
        _draw_points(axes, projection, markers)
        figure.text(0.5 / size[0], 1 - 0.2 / size[1], _short(escape(title), 70), va="top", fontsize=13, weight="bold")
        figure.text(0.5 / size[0], 1 - 0.5 / size[1], "; ".join(projection.facts()), va="top", color=NOTE)
        handles = [
            Line2D([], [], linestyle="", label=f"{name}  {count}", **_look(marker, 7)) for name, marker, count in rows
        ]
        if handles:
            legend = figure.legend(
                handles=handles,
                ncols=columns,
                loc="upper left",
                bbox_to_anchor=((0.5 + SIDE + 0.1) / size[0], 1 - 0.72 / size[1]),
                frameon=False,
                fontsize=9,
                handletextpad=0.2,
                columnspacing=1.0,
                labelspacing=0.55,
            )
            legend.set_in_layout(False)
        named = [label for label, marker in markers.items() if marker != OTHER] if len(markers) > 1 else []
        _write_names(figure, axes, projection, named)
    return figure


def legend_rows(
    projection: Projection, markers: dict[str, Marker], counts: Counter[str | None]
) -> list[tuple[str, Marker, int]]:
    """Names, markers and numbers of points: of each class with a marker of its own, of all others, of those without."""
    rows = [
        (_short(escape(label), LONGEST), marker, counts[label]) for label, marker in markers.items() if marker != OTHER
    ]
    others = [label for label, marker in markers.items() if marker == OTHER]
    if others:
        rows.append((f"{len(others)} more classes", OTHER, sum(counts[label] for label in others)))
    if counts[None] and markers:
        rows.append((UNLABELLED, OTHER, counts[None]))
    return rows


def _draw_points(axes: Any, projection: Projection, markers: dict[str, Marker]) -> None:
    points_N2 = projection.points_N2.numpy()
    size = float(np.clip(190 / np.sqrt(len(points_N2)), 2.2, 8.5))  # points across
    looks = [markers[label] if label is not None else OTHER for label in projection.labels]
    if not markers:  # one colour for all
        looks = [ALL] * len(looks)
    for marker in [OTHER, *dict.fromkeys([*markers.values(), ALL])]:  # grey below all
        kept = [number for number, one in enumerate(looks) if one == marker]
        axes.plot(*points_N2[kept].T, linestyle="", alpha=0.85, **_look(marker, size))
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.04)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(LINE)
    if projection.variance is not None:
        for name, set_label, part in zip("12", (axes.set_xlabel, axes.set_ylabel), projection.variance, strict=True):
            set_label(f"component {name}: {part:.0%} of the variance", fontsize=9, color=NOTE)


def _look(marker: Marker, size: float) -> dict[str, Any]:
    larger = {"star": 1.45, "cross": 1.15, "plus": 1.2, "triangle": 1.1, "nabla": 1.1, "diamond": 0.9}
    return {
        "marker": CODES[marker.shape],
        "markersize": size * larger.get(marker.shape, 1.0),
        "color": GREY if marker.colour is None else COLOURS[marker.colour],
        "markeredgecolor": "white",
        "markeredgewidth": min(0.6, size * 0.09) * (0.5 if marker.shape in ("cross", "plus", "star") else 1),
    }


def _write_names(figure: Figure, axes: Any, projection: Projection, labels: list[str]) -> None:
    """Each above where most of its class is, moved as little as keeps them from covering each other."""
    if not labels:
        return
    figure.canvas.draw()
    anchors_L2 = axes.transData.transform([projection.centre(label) for label in labels])
    outlined = [withStroke(linewidth=2.6, foreground="white")]
    texts = [
        axes.text(0, 0, _short(escape(label), LONGEST), fontsize=9, weight="bold", ha="center", va="center", zorder=5)
        for label in labels
    ]
    boxes = [text.get_window_extent() for text in texts]
    sizes_L2 = np.array([(box.width + 4, box.height + 1) for box in boxes])
    frame = axes.get_window_extent()
    wanted_L2 = anchors_L2.copy()
    unit = axes.transData.transform((0, 1))[1] - axes.transData.transform((0, 0))[1]
    for number, label in enumerate(labels):
        rise, height = projection.rise(label) * unit, sizes_L2[number, 1]
        if rise < 2.5 * height:  # else it would be far from most of its class
            wanted_L2[number, 1] += rise + height / 2 + 3
    places_L2 = apart(wanted_L2, sizes_L2, np.array([(frame.x0, frame.y0), (frame.x1, frame.y1)]))
    back = axes.transData.inverted()
    for text, place, anchor, wanted in zip(texts, places_L2, anchors_L2, wanted_L2, strict=True):
        text.set_position(back.transform(place))
        text.set_path_effects(outlined)
        if np.any(np.abs(place - wanted) > FAR):
            axes.plot(*back.transform([place, anchor]).T, color=INK, linewidth=0.7, zorder=4)


def apart(
    anchors_L2: NDArray[np.float64], sizes_L2: NDArray[np.float64], frame_22: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Centres of boxes inside a frame (its lower left and upper right corners), near their anchors, that overlap as
    little as a few hundred steps of pushing allow."""
    places_L2 = anchors_L2.copy()
    least_LL2 = (sizes_L2[:, None] + sizes_L2) / 2
    order = np.sign(np.arange(len(places_L2))[:, None] - np.arange(len(places_L2)))  # of boxes at one place
    for step in range(STEPS):
        between_LL2 = places_L2[:, None] - places_L2
        over_LL2 = least_LL2 - np.abs(between_LL2)
        over_LL2[np.arange(len(places_L2)), np.arange(len(places_L2))] = 0
        touching_LL = np.all(over_LL2 > 0, axis=2)
        if step and not touching_LL.any():
            break
        sideways_LL = over_LL2[..., 0] < over_LL2[..., 1]
        way_LL2 = np.where(between_LL2 == 0, order[..., None], np.sign(between_LL2))
        push_LL2 = way_LL2 * over_LL2 / 2 * touching_LL[..., None]
        push_LL2[..., 0] *= sideways_LL
        push_LL2[..., 1] *= ~sideways_LL
        places_L2 = places_L2 + push_LL2.sum(1)
        places_L2 = np.clip(places_L2, frame_22[0] + sizes_L2 / 2, frame_22[1] - sizes_L2 / 2)
    return places_L2


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
