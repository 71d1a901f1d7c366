"""The picture of a map: what is written where."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from timesformer.features.map_figure import CODES, apart, draw_map, save_map_figure
from timesformer.features.markers import DIFFERENT, OTHER, SHAPES, markers_of
from timesformer.features.projection import Projection


def some_map(classes: int, each: int = 6, unlabelled: int = 0) -> Projection:
    """Classes around a circle."""
    angle_K = torch.arange(classes) * 2 * torch.pi / max(classes, 1)
    centres_K2 = 10 * torch.stack([angle_K.cos(), angle_K.sin()], 1)
    generator = torch.Generator().manual_seed(0)
    points_N2 = centres_K2.repeat_interleave(each, 0) + torch.randn(classes * each, 2, generator=generator)
    points_N2 = torch.cat([points_N2, torch.randn(unlabelled, 2, generator=generator)])
    labels = tuple(f"class {number:03}" for number in range(classes) for _ in range(each)) + (None,) * unlabelled
    return Projection(points_N2, "tsne", "scikit-learn 1", 0, labels, 0.9, 0.5 if classes > 1 else None, None, 10)


def test_markers_differ() -> None:
    for classes in (2, 8, DIFFERENT):
        found = list(markers_of(some_map(classes)).values())
        assert len(set(found)) == classes
        assert OTHER not in found
        for before, after in pairwise(found):
            assert before.colour != after.colour
            assert before.shape != after.shape
    assert set(CODES) == {*SHAPES, OTHER.shape}
    assert len(set(CODES.values())) == len(CODES)


def test_the_most_frequent_classes_have_markers_of_their_own() -> None:
    projection = some_map(DIFFERENT + 2)
    more = Projection(
        torch.cat([projection.points_N2, torch.zeros(DIFFERENT, 2)]),
        "tsne",
        "",
        0,
        projection.labels + tuple(f"class {number:03}" for number in range(2, DIFFERENT + 2)),
        1.0,
        None,
        None,
        1,
    )
    found = markers_of(more)
    assert [label for label, marker in found.items() if marker == OTHER] == ["class 000", "class 001"]
    assert len(set(found.values())) == DIFFERENT + 1
    legend = [text.get_text() for text in draw_map(more, "f").legends[0].get_texts()]
    assert legend[0] == "class 002  7"
    assert legend[-1] == "2 more classes  12"


def test_what_is_written() -> None:
    figure = draw_map(some_map(3, unlabelled=4), "cost $1$.parquet")
    texts = [text.get_text() for text in figure.texts]
    assert texts == [
        "cost $1$.parquet",
        "t-SNE of 22 vectors; trustworthiness 0.900; silhouette 0.500; scikit-learn 1, seed 0",
    ]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["class 000  6", "class 001  6", "class 002  6", "no label  4"]
    (axes,) = figure.axes
    assert sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() != "None") == 22
    projection = some_map(3, unlabelled=4)
    for text in axes.texts:
        shown = axes.transData.transform(text.get_position()) - axes.transData.transform(
            projection.centre(text.get_text())
        )
        assert np.abs(shown).max() < 80  # pixels of a picture of 1,100
    assert [text.get_text() for text in axes.texts] == ["class 000", "class 001", "class 002"]


def test_without_labels_there_is_no_legend() -> None:
    figure = draw_map(some_map(0, unlabelled=9), "f.parquet")
    assert figure.legends == []
    assert len(figure.axes[0].texts) == 0
    assert "no labels" in figure.texts[1].get_text()


def test_the_axes_of_components_say_their_part() -> None:
    given = some_map(2)
    found = Projection(given.points_N2, "pca", "", 0, given.labels, 1.0, 0.5, (0.51, 0.204), 1)
    (axes,) = draw_map(found, "f").axes
    assert axes.get_xlabel() == "component 1: 51% of the variance"
    assert axes.get_ylabel() == "component 2: 20% of the variance"


def test_names_are_moved_apart_inside_the_frame() -> None:
    generator = np.random.default_rng(0)
    anchors, sizes = generator.uniform(0, 1000, (40, 2)), np.tile([90.0, 14.0], (40, 1))
    anchors[:6] = [[3, 3]] * 6  # at one place, in a corner
    found = apart(anchors, sizes, np.array([(0.0, 0.0), (1000.0, 1000.0)]))
    for number in range(40):
        gaps = np.abs(found[number] - np.delete(found, number, 0)) - [90, 14]
        assert (gaps.max(1) > -1).all(), number
    assert found.min() >= 7
    assert (found[:, 0] >= 45).all()
    assert found.max() <= 993
    alone = apart(np.array([[500.0, 500.0]]), np.array([[90.0, 14.0]]), np.array([(0.0, 0.0), (1000.0, 1000.0)]))
    assert alone.tolist() == [[500, 500]]


def test_the_file(tmp_path: Path) -> None:
    save_map_figure(some_map(50), "f.parquet", tmp_path / "map.png")
    assert [file.name for file in tmp_path.iterdir()] == ["map.png"]
    image = np.asarray(Image.open(tmp_path / "map.png").convert("RGB"))
    assert image.shape[0] > 1000
    assert (image != 255).any(2).mean() > 0.02
