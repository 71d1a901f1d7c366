"""The pictures of an explanation: an animation of overlays, a contact sheet, and the weight of each frame over time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from timesformer.colours import INK
from timesformer.explain.explainer import Explanation
from timesformer.explain.heat import COLOURS, SIGNED, Scale, scale_of

Image = NDArray[np.uint8]  # (H, W, 3)
Images = NDArray[np.uint8]  # (N, H, W, 3)

PALE, BAR, NOW = "#dddddd", "#8c8c8c", "#c33b4f"  # NOW is of the colours' middle
DPI = 100
ON_SHEET = 12  # frames of a contact sheet, at most, spread over all
# Class names are of any writing: glyphs that the font lacks are boxes, not warnings; a $ is no formula.
TEXT: Any = {"text.parse_math": False, "font.size": 10, "text.color": INK, "axes.labelcolor": INK}


def animation(explanation: Explanation, overlays: Iterable[Image]) -> Iterator[Image]:
    """Pictures, one a frame, of even sizes: the overlay, its scale, and the weight of all frames below."""
    overlays = iter(overlays)
    first_HW3 = next(overlays)
    height, width = first_HW3.shape[:2]
    image_width = min(4.8, 4.0 * width / height)
    image_height = image_width * height / width
    size = (_even(max(image_width, 3.6) + 1.3), _even(image_height + 1.75))
    with rc_context(TEXT):
        figure = Figure(figsize=size, dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        left, base = 0.25, 1.0  # inches
        plot = figure.add_axes(_box(size, left, base, image_width, image_height))
        shown = plot.imshow(first_HW3, interpolation="bilinear")
        plot.set_axis_off()
        _title(figure, explanation, size)
        _colour_bar(figure, scale_of(explanation), _box(size, left + image_width + 0.15, base, 0.16, image_height))
        strip = figure.add_axes(_box(size, 0.55, 0.5, size[0] - 0.8, 0.4))
        bars = _weights(strip, explanation)
        strip.set_yticks([])
        stamp = figure.text(1 - 0.25 / size[0], 0.08 / size[1], "", ha="right", va="bottom", fontsize=9)
        for number, overlay in enumerate(itertools.chain((first_HW3,), overlays)):
            shown.set_data(overlay)
            for other, bar in enumerate(bars):
                bar.set_color(NOW if other == number else BAR)
            stamp.set_text(when(explanation, number))
            canvas.draw()  # type: ignore[no-untyped-call]
            yield np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def contact_sheet(explanation: Explanation, frames_NHW3: Images, overlays_NHW3: Images) -> Figure:
    """Frames above their overlays, with their numbers and weights."""
    count = len(explanation.frames)
    chosen = sorted({round(number) for number in np.linspace(0, count - 1, min(count, ON_SHEET))})
    columns = min(len(chosen), 4 if len(chosen) % 4 == 0 else 6)
    lines = math.ceil(len(chosen) / columns)
    height, width = overlays_NHW3.shape[1:3]
    cell = (1.75 * width / max(height, width), 1.75 * height / max(height, width))
    pitch = max(cell[0] + 0.1, 1.6)  # inches; a caption is as wide as that
    size = (max(columns * pitch + 1.3, 5.5), lines * (2 * cell[1] + 0.5) + 0.75)
    weights = explanation.frame_weights
    with rc_context(TEXT):
        figure = Figure(figsize=size, dpi=130, facecolor="white")
        _title(figure, explanation, size)
        for place, number in enumerate(chosen):
            left = 0.25 + place % columns * pitch
            top = size[1] - 0.9 - place // columns * (2 * cell[1] + 0.5)
            for row, images in enumerate((frames_NHW3, overlays_NHW3)):
                plot = figure.add_axes(_box(size, left, top - (row + 1) * cell[1] - row * 0.04, *cell))
                plot.imshow(images[number], interpolation="bilinear", aspect="auto")
                plot.set_axis_off()
            text = f"{when(explanation, number)}, {weights[number]:.0%}"
            figure.text(left / size[0], (top + 0.05) / size[1], text, fontsize=8)
        bar = _box(size, size[0] - 0.95, 0.3, 0.16, size[1] - 1.25)
        _colour_bar(figure, scale_of(explanation), bar)
    return figure


def weight_plot(explanation: Explanation) -> Figure:
    """The part of each frame in the map, over time; a dashed line is what each has of an even map."""
    size = (7.0, 2.9)
    with rc_context(TEXT):
        figure = Figure(figsize=size, dpi=130, facecolor="white")
        _title(figure, explanation, size)
        plot = figure.add_axes(_box(size, 0.75, 0.55, size[0] - 0.95, size[1] - 1.25))
        for bar in _weights(plot, explanation):
            bar.set_color(NOW)
        plot.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
        plot.set_ylabel("part of the map")
        plot.text(
            1, 1.02, "dashed: every frame alike", transform=plot.transAxes, ha="right", fontsize=8, color="#666666"
        )
    return figure


def when(explanation: Explanation, number: int) -> str:
    """A frame in words, by its place among those that were looked at."""
    seconds = explanation.seconds[number]
    return f"frame {explanation.frames[number]}" + ("" if seconds is None else f" · {seconds:.2f} s")


def save_figure(figure: Figure, path: Path) -> None:
    """As PNG."""
    with rc_context(TEXT):
        figure.savefig(path, format="png")


def _title(figure: Figure, explanation: Explanation, size: tuple[float, float]) -> None:
    """The class with its score, and the method."""
    top = 1 - 0.12 / size[1]
    figure.text(0.25 / size[0], top, f"{_short(explanation.label)}  {explanation.score:.3f}", va="top", weight="bold")
    note = describe(explanation)
    if explanation.predicted != explanation.label:
        note = f"{note}; predicted: {_short(explanation.predicted)}"
    figure.text(0.25 / size[0], top - 0.23 / size[1], note, va="top", fontsize=9, color="#555555")


def describe(explanation: Explanation) -> str:
    """The method in words."""
    settings = explanation.settings
    found = {"rollout": "attention rollout", "relevance": "relevance", "occlusion": "occlusion"}[settings.method]
    if settings.layer is not None:
        found += f", layer {settings.layer}"
    if settings.head is not None:
        found += f", head {settings.head}"
    if settings.grids > 1:
        found += f", {settings.grids} x {settings.grids} grids"
    if settings.query is not None:
        found += f", of pixel {settings.query.x}, {settings.query.y} in frame {settings.query.frame}"
    return found


def _weights(plot: Any, explanation: Explanation) -> Sequence[Any]:
    """Bars of the weights of frames against seconds, or numbers of frames where times are unknown."""
    times = explanation.seconds
    known = all(time is not None for time in times)
    places = [float(time or 0) for time in times] if known else [float(number) for number in explanation.frames]
    gaps = [after - before for before, after in itertools.pairwise(places)]
    step = min((gap for gap in gaps if gap > 0), default=1.0)
    bars = plot.bar(places, explanation.frame_weights, width=0.82 * step, color=BAR)
    plot.axhline(1 / len(places), color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    plot.set_xlim(places[0] - 0.6 * step, places[-1] + 0.6 * step)
    plot.set_xlabel("seconds" if known else "frame", fontsize=9, labelpad=1)
    plot.tick_params(labelsize=8, length=2, colors=INK)
    plot.spines[["top", "right"]].set_visible(False)
    plot.spines[["left", "bottom"]].set_color(PALE)
    return list(bars)


def _colour_bar(figure: Figure, scale: Scale, box: tuple[float, float, float, float]) -> None:
    axes = figure.add_axes(box)
    colours = SIGNED if scale.signed else COLOURS
    bar = figure.colorbar(ScalarMappable(Normalize(scale.low, scale.high), colours), cax=axes)
    bar.set_label(scale.label, fontsize=8)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)


def _box(
    size: tuple[float, float], left: float, bottom: float, width: float, height: float
) -> tuple[float, float, float, float]:
    """Inches as fractions of a figure."""
    return left / size[0], bottom / size[1], width / size[0], height / size[1]


def _even(inches: float) -> float:
    """Inches that are an even number of pixels, as h264 needs."""
    return math.ceil(inches * DPI / 2) * 2 / DPI


def _short(name: str, length: int = 40) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
