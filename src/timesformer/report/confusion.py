"""The confusion matrix as a table that can be read, whatever the number of classes, and as one small picture.

Dimensions: K classes, C of them shown.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from timesformer.evaluation.analysis import Analysis
from timesformer.report.page import data_uri

SHOWN = 30  # classes of a table
BLUE = (0, 114, 178)  # --heat; how opaque it is tells the fraction, so that it fits light and dark


class Row(NamedTuple):
    """A class: of its videos the number that is classified as each shown class, and its percentage."""

    label: str
    videos: int
    cells: list[tuple[int, int]]


class Table(NamedTuple):
    """rows: of the classes that are shown, whose columns are in the same order. hidden: how many classes are not; where
    any is, there is a last column for those. picture: of all classes, where not all are shown."""

    rows: list[Row]
    hidden: int
    picture: str | None

    @property
    def labels(self) -> list[str]:
        return [row.label for row in self.rows]


def confusion_table(analysis: Analysis) -> Table | None:
    """The confusion matrix: whole up to SHOWN classes, or else those of the most confused pairs, and a last column with
    what all other classes have. None where a video may have several classes."""
    matrix_KK = analysis.confusion_KK
    if matrix_KK is None:
        return None
    labels = analysis.result.labels
    if len(labels) <= SHOWN:
        shown = list(range(len(labels)))
    else:
        number, chosen = {label: row for row, label in enumerate(labels)}, dict[int, None]()
        for pair in analysis.confusions:
            both = {number[pair.label]: None, number[pair.predicted]: None}
            if len(chosen | both) <= SHOWN:
                chosen |= both
        shown = sorted(chosen)
    rows = []
    for row in shown:
        counts, videos = matrix_KK[row, shown].tolist(), int(matrix_KK[row].sum())
        if len(shown) < len(labels):
            counts.append(videos - sum(counts))
        rows.append(Row(labels[row], videos, [(count, round(100 * count / max(videos, 1))) for count in counts]))
    return Table(rows, len(labels) - len(shown), _picture(matrix_KK) if len(shown) < len(labels) else None)


def _picture(matrix_KK: Tensor) -> str:
    """A pixel a cell, in PNG: a root makes small fractions visible."""
    fractions_KK = (matrix_KK.double() / matrix_KK.sum(1, keepdim=True).clamp_min(1)).sqrt().numpy()
    image = np.empty((*fractions_KK.shape, 4), np.uint8)
    image[..., :3] = BLUE
    image[..., 3] = (fractions_KK * 255).round()
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", optimize=True)
    return data_uri(stream.getvalue(), "image/png")
