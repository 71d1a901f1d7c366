"""The picture of a timeline: which classes have lines and bars, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from timesformer.evaluation.temporal import TrueSegment
from timesformer.inference.segments import ScoredWindow, Segmenter, pieces
from timesformer.inference.timeline_picture import COLOURS, NONE, draw_timeline, make_figure

LABELS = ("idle", "a", "b", "never")
WINDOWS = [
    ScoredWindow(start, start + 1, np.array(scores))
    for start, scores in (
        (0, (0.1, 0.7, 0.1, 0.1)),
        (1, (0.7, 0.1, 0.1, 0.1)),
        (3, (0.1, 0.1, 0.7, 0.1)),
        (4, (0.1, 0.7, 0.1, 0.1)),
    )
]


def figure_of(windows: list[ScoredWindow], labels: tuple[str, ...] = LABELS, **options: Any) -> Any:
    found = list(Segmenter(labels, background=["idle"] if "idle" in labels else []).segments(windows))
    return make_figure(list(pieces(windows)), found, labels, **options)


def bars(figure: Any) -> list[list[tuple[float, float]]]:
    """Of every lane, from above: start and end of its bars, first those that were found, then the true ones."""
    spans = []
    for collection in figure.axes[1].collections:
        corners = [path.vertices for path in collection.get_paths()]
        spans.append([(round(float(c[:, 0].min()), 6), round(float(c[:, 0].max()), 6)) for c in corners])
    return spans


def test_lines_and_bars() -> None:
    figure = figure_of(WINDOWS, title="a.mp4")
    upper, lower = figure.axes
    grey, *curves = upper.patches
    assert [patch.get_edgecolor()[:3] for patch in (grey, *curves)] == [
        tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)) for colour in (NONE, *COLOURS[:2])
    ]
    assert np.array_equal(curves[0].get_data().edges, [0, 1, 2, 3, 4, 5])
    assert np.array_equal(curves[0].get_data().values, [0.7, 0.1, np.nan, 0.1, 0.7], equal_nan=True)
    assert np.array_equal(grey.get_data().values, [0.1, 0.7, np.nan, 0.1, 0.1], equal_nan=True)
    assert [text.get_text() for text in lower.get_yticklabels()] == ["a", "b"]
    assert bars(figure) == [[(0, 1), (4, 5)], [], [(3, 4)], []]
    assert upper.get_legend().get_texts()[0].get_text() == "wins, without a segment"
    assert upper.get_title(loc="left") == "a.mp4"


def test_true_segments() -> None:
    """Classes that are only true have a lane too."""
    truth = [TrueSegment("v", 0.5, 1.5, "a"), TrueSegment("v", 2, 3, "never")]
    figure = figure_of(WINDOWS, truth=truth, threshold=0.25)
    assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == ["a", "never", "b"]
    assert bars(figure) == [[(0, 1), (4, 5)], [(0.5, 1.5)], [], [(2, 3)], [(3, 4)], []]
    assert "threshold 0.25" in [text.get_text() for text in figure.axes[0].texts]


def test_more_classes_than_are_drawn() -> None:
    labels = tuple(f"class {number}" for number in range(20))
    windows = [ScoredWindow(number, number + 1, np.eye(20)[number]) for number in range(20)]
    windows += [ScoredWindow(20 + number, 21 + number, np.eye(20)[19 - number]) for number in range(10)]
    figure = figure_of(windows, labels)
    assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == [
        *(f"class {number}" for number in range(6)),
        *(f"class {number}" for number in range(10, 20)),
    ]
    assert figure.get_supxlabel() == "4 more classes are not drawn"


@pytest.mark.parametrize("length", [0.5, 30, 600, 4000, 100_000])
def test_pictures_of_all_lengths(tmp_path: Path, length: float) -> None:
    """1200 pixels wide, with ticks that do not crowd."""
    windows = [window._replace(start=window.start * length / 5, end=window.end * length / 5) for window in WINDOWS]
    found = list(Segmenter(LABELS).segments(windows))
    draw_timeline(list(pieces(windows)), found, LABELS, tmp_path / "a.png", title="$a$.mp4")
    assert imread(tmp_path / "a.png").shape[1] == 1200
    ticks = [tick for tick in figure_of(windows).axes[1].get_xticks() if 0 <= tick <= length]
    assert 3 <= len(ticks) <= 14


def test_a_picture_of_nothing(tmp_path: Path) -> None:
    draw_timeline([], [], LABELS, tmp_path / "a.png")
    assert make_figure([], [], LABELS).get_supxlabel() == "no segments"
