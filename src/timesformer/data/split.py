"""Lists that split a data set: train.csv, val.csv and test.csv, or a folder of them for each fold."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

from timesformer.data.labelled_csv import LabelledRows, labelled_rows
from timesformer.data.layouts import read_folders, some
from timesformer.data.lists import SPLITS
from timesformer.data.partition import partition
from timesformer.data.text import write_csv
from timesformer.errors import DataError, SettingError

RANDOM = "random"
LISTS = ("train", "val", "test")


class Split(NamedTuple):
    """What was written. lists: the number of videos of each list, by its folder; notes: what may not be meant."""

    lists: dict[Path, dict[str, int]]
    notes: tuple[str, ...]


def split_data(
    data: str | Path,
    out: str | Path | None = None,
    *,
    by: str = RANDOM,
    test: float | None = None,
    val: float = 0.0,
    folds: int | None = None,
    seed: int = 0,
) -> Split:
    """Write lists that split a data set.

    data: a folder of class folders, or a CSV with the columns path, label (or labels) and any others, which are kept.
    out: folder of train.csv, val.csv and test.csv; where the videos or the CSV are, if not given. by: "random", where
        rows of one path stay together, or the column of the CSV whose groups do, such as a person or a source video.
    test, val: fractions of the videos, 0.2 and none if not given; classes have about the same fractions in all parts.
    folds: instead of `test`, so many folders fold1, fold2, ... in `out`. Every video is tested in one of them, and
        `val` is a fraction of what is not tested there.
    seed: decides how the videos are split.

    Raises SettingError for fractions and folds that are not possible and DataError for data that cannot be split so:
    fewer groups than parts, a class that training or test would lack, lists that exist. Nothing is written then.
    """
    if folds is None:
        test = 0.2 if test is None else test
    elif test is not None:
        raise SettingError(f"test is {test:g} beside {folds} folds, which have their own; give one of them")
    _check_sizes(test or 0.0, val, folds)
    data = Path(data)
    root = data if data.is_dir() else data.parent
    if data.is_dir() and by != RANDOM:
        raise SettingError(
            f"by is {by}, but class folders have no columns; write a CSV with the columns path,label,{by}"
        )
    rows = _class_folders(data) if data.is_dir() else _csv(data)
    groups = list(map(os.path.normpath, rows.column("path"))) if by == RANDOM else rows.groups(by)
    out = root if out is None else Path(out)
    if folds is None:
        assert test is not None
        parts = partition(rows.classes, groups, [1 - test - val, val, test], seed)
        lists = {out: [LISTS[part] for part in parts]}
    else:
        parts = partition(rows.classes, groups, [1 / folds] * folds, seed)
        lists = {out / f"fold{fold + 1}": _fold(rows, groups, parts, fold, val, seed) for fold in range(folds)}
    for folder, splits in lists.items():
        _check_classes(data, rows, by, groups, folder, splits)
        for name in (f"{name}.csv" for split in LISTS for name in SPLITS[split]):
            if os.path.lexists(folder / name):
                raise DataError(f"{folder / name}: exists; remove it, or name another folder with --out")
    notes = rows.notes
    if by == RANDOM:
        notes += (
            "split at random, so clips of one person or recording may be in several parts; --by keeps groups whole",
        )
    return Split({folder: _write(rows, root, folder, splits) for folder, splits in lists.items()}, notes)


def _check_sizes(test: float, val: float, folds: int | None) -> None:
    if folds is not None and folds < 2:
        raise SettingError(f"folds is {folds}; expected at least 2")
    if not (0 <= val < 1 and (folds is not None or (test > 0 and test + val < 1))):
        raise SettingError(f"test is {test:g} and val {val:g}; expected fractions that leave some videos to train on")


def _class_folders(data: Path) -> LabelledRows:
    listing = read_folders(data, data)
    names = {name for split in SPLITS.values() for name in split}
    if listing.labels and names.issuperset(listing.labels):
        raise DataError(f"{data}: is split already, into {some(listing.labels)}; expected a folder of class folders")
    if not listing.videos:
        raise DataError(f"{data}: holds no class folders with videos; expected them, or a CSV with path,label")
    cells = [[os.path.relpath(video.path, data), listing.labels[video.label]] for video in listing.videos]
    return LabelledRows(data, ["path", "label"], cells, [[label] for _, label in cells], False, listing.notes)


def _csv(data: Path) -> LabelledRows:
    rows = labelled_rows(data)
    if rows is None:
        raise DataError(f"{data}: no header with path and label; expected path,label[,more] or path,labels[,more]")
    if not rows.cells:
        raise DataError(f"{data}: holds no videos")
    return rows


def _fold(
    rows: LabelledRows, groups: Sequence[Hashable], parts: list[int], fold: int, val: float, seed: int
) -> list[str]:
    """The split of each video where one part is tested and a fraction of the others is validated."""
    splits = ["test"] * len(parts)
    others = [row for row, part in enumerate(parts) if part != fold]
    inner = partition([rows.classes[row] for row in others], [groups[row] for row in others], [1 - val, val], seed)
    for row, part in zip(others, inner, strict=True):
        splits[row] = LISTS[part]
    return splits


def _check_classes(
    data: Path, rows: LabelledRows, by: str, groups: Sequence[Hashable], folder: Path, splits: list[str]
) -> None:
    """Raises DataError where training or test would lack a class; validation may."""
    classes = {name for names in rows.classes for name in names}
    for split in ("train", "test"):
        members = [names for names, part in zip(rows.classes, splits, strict=True) if part == split]
        if missing := sorted(classes.difference(*members)):
            has = len({group for group, names in zip(groups, rows.classes, strict=True) if missing[0] in names})
            unit = ("video" if by == RANDOM else f"{by}") + ("" if has == 1 else "s" if by == RANDOM else " groups")
            raise DataError(
                f"{data}: {folder.name}/{split}.csv would have no video of class {some(missing)}; {missing[0]} has "
                f"{has} {unit}: take fewer folds, other fractions or another seed"
            )


def _write(rows: LabelledRows, root: Path, folder: Path, splits: list[str]) -> dict[str, int]:
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    where = rows.header.index("path")
    for split in LISTS:
        chosen = [cells for cells, part in zip(rows.cells, splits, strict=True) if part == split]
        if not chosen:
            continue
        counts[split] = len(chosen)
        paths = (_path_from(folder, root, cells[where]) for cells in chosen)
        moved = ([*cells[:where], path, *cells[where + 1 :]] for cells, path in zip(chosen, paths, strict=True))
        write_csv(folder / f"{split}.csv", rows.header, moved)
    return counts


def _path_from(folder: Path, root: Path, path: str) -> str:
    """A path as a list in a folder, which may be a link, says it; absolute ones stay."""
    return path if os.path.isabs(path) else os.path.relpath(root.resolve() / path, folder.resolve())
