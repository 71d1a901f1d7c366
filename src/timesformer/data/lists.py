"""Lists of labelled videos, as files: CSV of two kinds, mmaction2's text, Something-Something's JSON.

A reader takes DATA's folder and the list, and gives a `Listing`. Whatever is wrong is a DataError of one line that
names the file and the line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from timesformer.data.labels import read_labels
from timesformer.data.text import csv_header, csv_rows, text_lines
from timesformer.errors import DataError

SPLITS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """A video file (or folder of frames) and its classes, as indices of the manifest's labels.

    `labels` holds one class, or in multi-label data any number in ascending order. Where it is one,
    `path, label = video` takes both.
    """

    path: Path
    labels: tuple[int, ...]

    @property
    def label(self) -> int:
        """The class of a video that has one; an error in a video of several or none."""
        (label,) = self.labels
        return label

    def __iter__(self) -> Iterator[Any]:
        return iter((self.path, self.label))


class Listing(NamedTuple):
    """What a list holds: names of the classes, the videos, and whether a video may have several classes or none."""

    labels: tuple[str, ...]
    videos: list[LabelledVideo]
    multilabel: bool = False


def read_csv(folder: Path, source: Path) -> Listing:
    """CSV with the columns `path` and `label` (or `labels`), or the official code's Kinetics lists."""
    lines = text_lines(source)
    header = csv_header(lines)
    if "label" in header and "labels" in header:
        raise DataError(f"{source}: has both a column label and a column labels; keep one")
    column = "labels" if "labels" in header else "label"
    if "path" not in header or column not in header:
        first = next(filter(None, lines), "")
        if first.rpartition(" ")[2].isdecimal():
            return read_text_list(folder, source)
        raise DataError(
            f"{source}: the first line is {first[:80]!r}; expected a header path,label[,more] or "
            "path,labels[,more], or lines of 'path label-number' without a header"
        )
    rows: list[tuple[str, list[str]]] = []
    for number, (path, cell) in csv_rows(source, lines, ("path", column)):
        if not path or not (cell or column == "labels"):
            raise DataError(f"{source}, line {number}: path {path[:80]!r}, label {cell!r}; neither may be empty")
        rows.append((path, _several(source, number, cell) if column == "labels" else [cell]))
    names = tuple(sorted({name for _, row in rows for name in row}))
    if rows and not names:
        raise DataError(f"{source}: no video has a class")
    numbers = {name: number for number, name in enumerate(names)}
    videos = [LabelledVideo(folder / path, tuple(sorted(numbers[name] for name in row))) for path, row in rows]
    return Listing(names, videos, column == "labels")


def _several(source: Path, line: int, cell: str) -> list[str]:
    """The classes of a cell, parted by semicolons."""
    names = [name.strip() for name in cell.split(";")] if cell else []
    if not all(names):
        raise DataError(f"{source}, line {line}: labels {cell[:80]!r}; a class without a name")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{source}, line {line}: labels {cell[:80]!r}; class {twice} is there more than once")
    return names


def is_text_list(source: Path) -> bool:
    """Whether the first line that holds anything is of the form `path label-number`."""
    try:
        with source.open(encoding="utf-8-sig") as file:
            path, _, label = next((line.strip() for line in file if line.strip()), "").rpartition(" ")
    except (OSError, UnicodeDecodeError):
        return False
    return bool(path) and label.isdecimal()


def read_text_list(folder: Path, source: Path) -> Listing:
    """Lines of `path label-number` or `folder frames label-number`."""
    rows: list[tuple[str, int]] = []
    for number, line in enumerate(text_lines(source), 1):
        path, _, label = line.rpartition(" ")
        if line and not (path and label.isdecimal()):
            raise DataError(f"{source}, line {number}: {line[:80]!r}; expected 'path label-number'")
        rows += [(path.strip(), int(label))] if line else []
    root, counted = _root_of(folder, source, [path for path, _ in rows])
    top = max((label for _, label in rows), default=-1)
    names = _label_names(folder) or tuple(str(number) for number in range(top + 1))
    if top >= len(names):
        raise DataError(
            f"{source}: label number {top}; there are {len(names)} label names, so at most {len(names) - 1}"
        )
    found = [(root / (_uncounted(path) if counted else path), label) for path, label in rows]
    return Listing(names, [LabelledVideo(path, (label,)) for path, label in found])


def _root_of(folder: Path, source: Path, paths: list[str]) -> tuple[Path, bool]:
    """What the paths of a list are relative to, and whether frame counts follow them, by the first video that exists.

    mmaction2 keeps videos in folders of its own beside DATA's lists, and counts the frames of frame folders.
    """
    splits = [split for split, names in SPLITS.items() if words(source.stem) & set(names)]
    names = [f"{kind}_{split}" for kind in ("videos", "rawframes") for split in splits]
    roots = [folder, *(folder / name for name in (*names, "videos", "rawframes"))]
    for path in paths:
        for root in roots:
            if (root / path).exists():
                return root, False
            if _uncounted(path) != path and (root / _uncounted(path)).is_dir():
                return root, True
    return folder, False


def _uncounted(path: str) -> str:
    """A path of a list without the number of frames that may follow it."""
    shorter, _, count = path.rpartition(" ")
    return shorter.strip() if shorter and count.isdecimal() else path


def _label_names(folder: Path) -> tuple[str, ...] | None:
    files = [folder / "labels.txt", *sorted(folder.glob("label_map*.txt"))]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    return read_labels(file)


def read_something(folder: Path, source: Path) -> Listing:
    """Something-Something V2's JSON: entries with id and template, numbers of the templates beside them."""
    label_files = sorted(source.parent.glob("*labels.json"))
    if not label_files:
        raise DataError(f"{source.parent}: no *labels.json beside {source.name}")
    given, entries = _json(label_files[0]), _json(source)
    if not isinstance(given, dict):
        raise DataError(f"{label_files[0]}: expected an object of class names and numbers, got {type(given).__name__}")
    for name, number in given.items():
        if not str(number).isdecimal():
            raise DataError(f"{label_files[0]}: {name!r} has the number {number!r}; expected 0 or more")
    if not isinstance(entries, list):
        raise DataError(f"{source}: expected a list of entries with id and template, got {type(entries).__name__}")
    labels = tuple(sorted(given, key=lambda name: int(given[name])))
    numbers = {name: number for number, name in enumerate(labels)}
    root = next((path for path in (folder / "videos", folder / "20bn-something-something-v2") if path.is_dir()), folder)
    videos = []
    for entry in entries:
        if not isinstance(entry, dict) or "id" not in entry or not isinstance(entry.get("template"), str):
            raise DataError(
                f"{source}: entry {str(entry)[:80]}; expected id and template (the test list has no labels)"
            )
        label = entry["template"].replace("[", "").replace("]", "")
        if label not in numbers:
            raise DataError(f"{source}: template {label!r} is not in {label_files[0].name}")
        path = root / f"{entry['id']}.webm"
        if not path.exists() and path.with_suffix(".mp4").exists():
            path = path.with_suffix(".mp4")
        videos.append(LabelledVideo(path, (numbers[label],)))
    return Listing(labels, videos)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not JSON that can be read: {error}") from None


def words(stem: str) -> set[str]:
    """The words of a file name, parted by _ or -."""
    return set(stem.lower().replace("-", "_").split("_"))
