"""Videos in parts of given sizes: classes alike in all parts, groups whole."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Sequence

Classes = Sequence[str]  # of one video; several or none in multi-label data


def partition(classes: Sequence[Classes], groups: Sequence[Hashable], sizes: Sequence[float], seed: int) -> list[int]:
    """The number of the part that each video goes to.

    Groups come in order of their size, largest first and equal ones as the seed shuffles them; each goes to the part
    where it brings the counts of videos and of its classes nearest to what `sizes` would have.

    classes: of each video. groups: of each video; videos of one group stay together. sizes: fractions of the videos,
    one a part; they sum to 1.
    """
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    counts = {group: _count(classes, rows) for group, rows in members.items()}
    total = _count(classes, range(len(classes)))
    order = list(members)
    random.Random(f"partition {seed}").shuffle(order)
    order.sort(key=lambda group: -len(members[group]))
    filled: list[Counter[str | None]] = [Counter() for _ in sizes]
    parts = [0] * len(classes)
    for group in order:

        def worse(part: int, added: Counter[str | None] = counts[group]) -> float:
            """By how much the squared distance from the wanted counts grows, each relative to the class's size."""
            return sum(
                number * (2 * (filled[part][name] - sizes[part] * total[name]) + number) / (sizes[part] * total[name])
                for name, number in added.items()
            )

        best = min((part for part in range(len(sizes)) if sizes[part] > 0), key=worse)
        filled[best] += counts[group]
        for row in members[group]:
            parts[row] = best
    return parts


def _count(classes: Sequence[Classes], rows: Sequence[int]) -> Counter[str | None]:
    """Videos of each class among some, and under None all of them."""
    found: Counter[str | None] = Counter(name for row in rows for name in classes[row])
    found[None] = len(rows)
    return found
