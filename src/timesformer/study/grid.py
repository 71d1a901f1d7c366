"""What a study consists of: cells, each a recipe with some settings changed, trained with each seed and then tested."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from timesformer.config import Recipe
from timesformer.errors import SettingError
from timesformer.recipes import change_recipe
from timesformer.settings import make

Figure = Literal["bars", "lines"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One row of a study's table.

    name: in the table. changes: settings that differ from the study's recipe, by dotted names. model: a whole group
    `model` in place of the recipe's, for another architecture. protocol: how its test differs from the weights' own, as
    `change_protocol` has it, and "order" of the frames of a clip: "reversed" or "shuffled". initialised: whether it is
    initialised from --init where that is given. line, x: where it lies in a figure of lines. paper: the paper's own
    numbers, in the order of the study's `paper_columns`; None where it has none.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    initialised: bool = True
    line: str = ""
    x: float | None = None
    paper: tuple[float | None, ...] = ()

    def recipe(self, base: Recipe) -> Recipe:
        """The recipe of the cell. Raises SettingError, with the cell's name, for one that is not possible."""
        try:
            if self.model is not None:
                values = base.model_dump(mode="json") | {"model": dict(self.model)}
                base = make(Recipe, values, "recipe")
            changed = change_recipe(base, [f"{name}={json.dumps(value)}" for name, value in self.changes.items()])
        except SettingError as error:
            raise SettingError(f"cell {self.name}: {str(error).removeprefix('recipe: ')}") from None
        assert isinstance(changed, Recipe)
        return changed


@dataclass(frozen=True, kw_only=True)
class Study:
    """A table and a figure of the paper, or in its spirit.

    name: on the command line. title: what it is, and of which table. cells: those of a recipe, and whether there are
    weights of --init. reference: the name of
    the cell that the others are held against, of a recipe. paper_columns: what the paper's numbers beside the cells
    are. figure: its form; axis: of lines, what x is. needs_weights: whether it is about --init. minutes: whether all
    cells are trained for the same time. notes: what must be known to read its table.
    """

    name: str
    title: str
    cells: Callable[[Recipe, bool], Sequence[Cell]]
    reference: Callable[[Recipe], str]
    paper_columns: tuple[str, ...] = ()
    figure: Figure = "bars"
    axis: str = ""
    needs_weights: bool = False
    minutes: bool = False
    notes: tuple[str, ...] = ()

    def check_overrides(self, cells: Sequence[Cell], overrides: Sequence[str]) -> None:
        """Raises SettingError for an override that has no effect, since every cell has a value of its own."""
        varied = set.intersection(*(set(cell.changes) for cell in cells))
        for override in overrides:
            name = override.partition("=")[0]
            if name in varied:
                raise SettingError(f"override {override!r}: study {self.name} varies {name} itself; leave it out")
