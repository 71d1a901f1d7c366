"""What a run of folds or seeds consists of, all of it checked before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from timesformer.config import AnyRecipe
from timesformer.data.folds import Fold, Folds, classes_untested, make_folds
from timesformer.data.layouts import find_splits, some
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.data.write_lists import write_lists
from timesformer.errors import DataError, SettingError
from timesformer.folds.parts import FoldsResult
from timesformer.recipes import change_recipe
from timesformer.training.launch import find_launch
from timesformer.training.videos import choose_videos, read_training


class Part(NamedTuple):
    """One run among several: its folder in RUN, what it is called, its data set, and that and the split to test.

    The list of a fold to test is not in the data set that it is trained with: no fold is validated on it.
    """

    name: str
    title: str
    recipe: AnyRecipe
    fold: int | None
    groups: tuple[str, ...]
    data: Path
    tested: Path
    split: str


@dataclass(frozen=True)
class Division:
    """The parts of a run, in their order; `result` is of a run that has none of them yet."""

    recipe: AnyRecipe
    training: Manifest
    folds: list[Fold]
    parts: list[Part]
    result: FoldsResult
    notes: list[str]

    def check(self, data: Path) -> None:
        """Raises SettingError and DataError, with the name of the part, for videos that one cannot be trained on."""
        whole = read_training(self.recipe, data)
        for part in self.parts:
            videos = whole if part.fold is None else (self.training.part(self.folds[part.fold - 1].training), _no_split)
            try:
                choose_videos(part.recipe, *videos)
            except SettingError as error:
                raise SettingError(f"{part.title}: {error}") from None
            except DataError as error:
                raise DataError(f"{part.title}: {error}") from None

    def write_lists(self) -> None:
        """The lists of each fold."""
        for part in self.parts[: len(self.folds)]:  # those of the first seed
            fold = self.folds[(part.fold or 0) - 1]
            write_lists(self.training, {"train": fold.training}, part.data)
            write_lists(self.training, {"test": fold.test}, part.tested)


def _no_split(split: str) -> None:
    """A fold has no split but `train`."""


def divide(recipe: AnyRecipe, data: Path, out: Path, folds: Folds | None, seeds: Sequence[int]) -> Division:
    """The folds and seeds of a run in `out`. The column of groups is the recipe's `data.group`.

    Folds are of the training split alone. Without folds all runs train on it, and are tested on `test`, or on `val`
    where there is no `test`.

    Raises SettingError and DataError for whatever is not possible.
    """
    if (world := find_launch().process.world) > 1:
        raise SettingError(f"folds and seeds are trained in one process, but {world} were started")
    recipes = [change_recipe(recipe, [f"seed={seed}"]) for seed in seeds]
    training = read_manifest(data, "train", quarantine=recipe.data.quarantine or True)
    if folds is None:
        return _only_seeds(recipe, recipes, training, data, out)
    group = recipe.data.group
    made = make_folds(training, folds, group)
    parts = []
    for one in recipes:
        plain = one.model_copy(update={"data": one.data.model_copy(update={"quarantine": None})})
        for number, fold in enumerate(made, 1):
            name, title = f"fold{number}", f"fold {number} of {len(made)}"
            if len(recipes) > 1:
                name, title = f"seed{one.seed}/{name}", f"seed {one.seed}, {title}"
            if fold.groups:
                title += f", {group} {some(fold.groups)}"
            lists = out / "folds" / f"fold{number}"
            parts.append(Part(name, title, plain, number, fold.groups, lists, lists / "held_out", "test"))
    videos = _videos(training, *(str(fold.test) for fold in made))
    result = FoldsResult(out / "model", folds, group, tuple(seeds), None, videos, len(made))
    return Division(recipe, training, made, parts, result, _notes(training, made, data, group))


def _only_seeds(recipe: AnyRecipe, recipes: list[AnyRecipe], training: Manifest, data: Path, out: Path) -> Division:
    found = find_splits(data)
    split = next((name for name in ("test", "val") if name in found), None)
    if split is None:
        raise DataError(f"{data}: has no test or val split to test seeds on; --folds 5 divides its train split")
    tested = read_manifest(data, split, quarantine=recipe.data.quarantine or True).with_labels(training.labels)
    if tested.multilabel != training.multilabel:
        raise DataError(f"{tested.source}: only one of it and {training.source} has several classes a video")
    notes = ["tested on val, which also chooses epochs, so the scores are too high"] if split == "val" else []
    parts = [Part(f"seed{one.seed}", f"seed {one.seed}", one, None, (), data, data, split) for one in recipes]
    seeds = tuple(one.seed for one in recipes)
    result = FoldsResult(out / "model", None, None, seeds, split, _videos(training, tested.digest()), 1)
    return Division(recipe, training, [], parts, result, notes)


def _videos(training: Manifest, *more: str) -> str:
    """What must be as it was where a run is resumed."""
    digest = hashlib.sha256(" ".join([training.digest(), *more]).encode()).hexdigest()
    return f"{len(training.videos)} ({digest[:16]})"


def _notes(training: Manifest, folds: list[Fold], data: Path, column: str | None) -> list[str]:
    """What may not be meant."""
    notes = []
    if column is None:
        notes.append("clips of one person or recording may be both trained and tested on; --group keeps them together")
    if others := [split for split in find_splits(data) if split != "train"]:
        take = "takes" if len(others) == 1 else "take"
        notes.append(f"the folds are of the train split, {' and '.join(others)} {take} no part")
    if untested := classes_untested(training, folds):
        notes.append(f"in {untested} of {len(folds)} folds some class has no test video")
    return notes
