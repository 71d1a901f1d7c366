"""Is a map faithful to the model? Deletion and insertion (Petsiuk, Das and Saenko, "RISE", 2018).

Deletion hides the cells of all views, the strongest of the map first, and follows the score of the class: the area
under that curve is small where the map is right. Insertion begins with nothing and shows the strongest first: the area
is large. Beside the map stand orders at random, and the order from the centre of the clip outwards, which pictures that
people take favour.

Dimensions: V views, C 3 colours, T frames, S pixels, U time cells, R and Q rows and columns of cells, P steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timesformer.engine.engine import Engine
from timesformer.evaluation.interval import Interval, mean_interval
from timesformer.explain.masks import hide, log_scores

STEPS = 8  # parts that the cells are hidden or shown in
RANDOM = 6  # orders at random


class Area(NamedTuple):
    """Areas under the curves of an order, between 0 and 1."""

    deletion: float
    insertion: float


class Faithfulness(NamedTuple):
    """Areas of the map's order, of the order from the centre and of each order at random."""

    map: Area
    centre: Area
    random: list[Area]

    def gain(self, name: str, order: str = "map") -> tuple[float, Interval]:
        """By how much an order is better than one at random, and the 95% interval of that over random orders; `name`:
        "deletion" or "insertion". Above zero is better for both."""
        sign, area = (-1 if name == "deletion" else 1), getattr(getattr(self, order), name)
        gains = [sign * (area - getattr(one, name)) for one in self.random]
        return sum(gains) / len(gains), mean_interval(gains)

    def as_dict(self) -> dict[str, Any]:
        """Plain values: for deletion and insertion the area of each order, and the gains over random."""
        found: dict[str, Any] = {"steps": STEPS, "random_orders": len(self.random), "fill": "mean colour of each view"}
        for name in ("deletion", "insertion"):
            areas = [getattr(one, name) for one in self.random]
            row: dict[str, Any] = {
                "map": getattr(self.map, name),
                "centre": getattr(self.centre, name),
                "random": sum(areas) / len(areas),
                "random_interval": list(mean_interval(areas)),
            }
            for order in ("map", "centre"):
                row[f"{order}_gain_over_random"], interval = self.gain(name, order)
                row[f"{order}_gain_interval"] = list(interval)
            found[name] = row
        return found


def runs(views: int) -> int:
    """How many views a measurement runs."""
    return views * ((STEPS - 1) * (4 + RANDOM) + 2)


def faithfulness(
    engine: Engine,
    clips_VCTSS: Tensor,
    cells_VURQ: Tensor,
    number: int,
    on_run: Callable[[int], None] = lambda views: None,
) -> Faithfulness:
    """How the score of class `number`, the mean over views, follows the cells of a map. on_run: is told how many views
    were run. Random orders are the same whenever they are of as many cells."""
    views, shape = len(cells_VURQ), cells_VURQ.shape[1:]
    cells_VM = cells_VURQ.flatten(1).cpu()
    generator = torch.Generator().manual_seed(0)

    def scores(hidden_PVM: Tensor) -> Tensor:
        """Of each mask the mean score of the views: (P,)."""
        found = []
        for view, view_CTSS in enumerate(clips_VCTSS):
            clips = hide(view_CTSS, hidden_PVM[:, view].unflatten(-1, shape))
            found.append(log_scores(engine, clips, number).exp())
            on_run(len(clips))
        return torch.stack(found).mean(0)

    everything = torch.ones_like(cells_VM, dtype=torch.bool)
    nothing, whole = scores(torch.stack([everything, ~everything])).tolist()

    def curve_area(order_VM: Tensor) -> float:
        """Under the curve of hiding cells, the highest value first."""
        rank_VM = order_VM.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        cuts = [step * cells_VM.shape[1] / STEPS for step in range(1, STEPS)]
        between = scores(torch.stack([rank_VM < cut for cut in cuts])).tolist()
        area: float = (whole + nothing) / 2 + sum(between)
        return area / STEPS

    def area(order_VM: Tensor) -> Area:
        # Shown from the strongest on is hidden from the weakest on, backwards.
        return Area(curve_area(order_VM), curve_area(-order_VM))

    random = []
    for _ in range(RANDOM):
        deletion = curve_area(torch.rand(cells_VM.shape, generator=generator))
        random.append(Area(deletion, deletion))  # an order backwards is as random
    centre_VM = centre_prior(shape).flatten().expand(views, -1)
    return Faithfulness(area(cells_VM), area(centre_VM), random)


def centre_prior(shape: tuple[int, ...]) -> Tensor:
    """Highest in the middle of a view, the same in every frame: (U, R, Q)."""
    times, rows, columns = shape
    down, right = (torch.linspace(-1, 1, length) if length > 1 else torch.zeros(1) for length in (rows, columns))
    return -(down[:, None] ** 2 + right**2).expand(times, -1, -1)
