"""The videos of a split in folds: each is tested once, by a model that was trained on the other folds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from timesformer.data.layouts import some
from timesformer.data.manifest import Manifest
from timesformer.data.partition import partition
from timesformer.errors import DataError, SettingError

SEED = 0  # of the folds, whatever the seed of a run: all recipes and seeds are compared on the same ones
Folds = int | Literal["groups"]


class Fold(NamedTuple):
    """Rows of a manifest that are trained and tested on, and the groups of the latter where there is a column."""

    training: list[int]
    test: list[int]
    groups: tuple[str, ...] = ()


def make_folds(manifest: Manifest, folds: Folds, column: str | None) -> list[Fold]:
    """So many folds of equal size, classes alike in all of them; or with "groups" a fold for each group.

    column: of the list, such as a person, whose groups stay whole; without one, rows of the same video do.

    Raises SettingError for fewer than 2 folds and for "groups" without a column, DataError for fewer groups than folds,
    for a list without the column, and where the training videos of a fold would lack a class.
    """
    if folds == "groups" and column is None:
        raise SettingError("folds is groups, one fold for each; name their column with --group COLUMN")
    if folds != "groups" and folds < 2:
        raise SettingError(f"folds is {folds}; expected at least 2, or groups")
    groups = manifest.groups(column)
    names = sorted(set(groups), key=_in_order)
    if len(names) < (2 if folds == "groups" else folds):
        unit = f"groups of the column {column}" if column else "videos"
        raise DataError(f"{manifest.source}: {folds} folds of {len(names)} {unit}; expected at least as many as folds")
    classes = [[manifest.labels[label] for label in video.labels] for video in manifest.videos]
    if folds == "groups":
        numbers = {name: number for number, name in enumerate(names)}
        parts, count = [numbers[group] for group in groups], len(names)
    else:
        parts, count = partition(classes, groups, [1 / folds] * folds, SEED), folds
    made = []
    for number in range(count):
        rows: tuple[list[int], list[int]] = ([], [])
        for row, part in enumerate(parts):
            rows[part == number].append(row)
        tested = {groups[row] for row in rows[1]}
        made.append(Fold(*rows, tuple(name for name in names if name in tested) if column else ()))
    _check_classes(manifest, made, column)
    return made


def classes_untested(manifest: Manifest, folds: Sequence[Fold]) -> int:
    """In how many folds some class has no test video."""
    everywhere = _classes(manifest, range(len(manifest.videos)))
    return sum(_classes(manifest, fold.test) != everywhere for fold in folds)


def _check_classes(manifest: Manifest, folds: Sequence[Fold], column: str | None) -> None:
    everywhere = _classes(manifest, range(len(manifest.videos)))
    for number, fold in enumerate(folds, 1):
        if missing := everywhere - _classes(manifest, fold.training):
            names = [manifest.labels[label] for label in sorted(missing)]
            where = f"fold {number}" + (f" ({column} {some(fold.groups)})" if column else "")
            raise DataError(
                f"{manifest.source}: {where} has all videos of class {some(names)}, which would have none to train "
                "on; take other folds or groups, or remove the class"
            )


def _classes(manifest: Manifest, rows: Sequence[int]) -> set[int]:
    return {label for row in rows for label in manifest.videos[row].labels}


def _in_order(name: str) -> tuple[bool, int, str]:
    """Numbers by their value, before all other names."""
    return not name.isdecimal(), int(name) if name.isdecimal() else 0, name
