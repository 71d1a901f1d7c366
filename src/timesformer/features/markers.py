"""Colours and shapes that tell the classes of a map apart, to people of any colour vision and in print.

Neither colours nor shapes alone are enough for more than about eight classes. Both change from one class to the next,
and no two of 56 have the same pair. Classes beyond those, the ones with the fewest rows, are alike: small and grey.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from timesformer.features.projection import Projection

COLOURS = 7  # with shapes, no common divisor
SHAPES = ("circle", "square", "triangle", "diamond", "cross", "nabla", "plus", "star")
DIFFERENT = COLOURS * len(SHAPES)


class Marker(NamedTuple):
    """How the points of a class are drawn: the number of a colour and one of SHAPES; None and "dot" for grey."""

    colour: int | None
    shape: str


OTHER = Marker(None, "dot")  # of classes without a marker of their own, and of rows without a class


def markers_of(projection: Projection) -> dict[str, Marker]:
    """The marker of each class; of more than 56 the most frequent ones have their own. In alphabetical order."""
    counts = Counter(label for label in projection.labels if label is not None)
    most = {label for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:DIFFERENT]}
    markers, number = dict[str, Marker](), 0
    for label in projection.classes:
        markers[label] = Marker(number % COLOURS, SHAPES[number % len(SHAPES)]) if label in most else OTHER
        number += label in most
    return markers
