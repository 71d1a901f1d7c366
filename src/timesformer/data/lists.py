"""Lists of labelled videos, as files: CSV of two kinds, mmaction2's text, Something-Something's JSON.

A reader takes DATA's folder and the list, and gives a `Listing`. Whatever is wrong is a DataError of one line that
names the file and the line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from timesformer.data.labelled_csv import labelled_rows
from timesformer.data.labels import composed, read_labels
from timesformer.data.list_checks import (
    check_label_numbers,
    check_numbers,
    encoding_notes,
    label_notes,
    located,
    why_not_a_row,
)
from timesformer.data.text import text_lines
from timesformer.errors import DataError, VideoError
from timesformer.files import open_text
from timesformer.video.source import open_video
from timesformer.video.video import Video

SPLITS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}


@dataclass(frozen=True, slots=True)
class LabelledVideo:
    """A video file (or folder of frames) and its classes, as indices of the manifest's labels.

    `labels` holds one class, or in multi-label data any number in ascending order. Where it is one,
    `path, label = video` takes both. frames: how many the list says the folder holds; None where it does not say.
    """

    path: Path
    labels: tuple[int, ...]
    frames: int | None = None

    @property
    def label(self) -> int:
        """The class of a video that has one; an error in a video of several or none."""
        (label,) = self.labels
        return label

    def __iter__(self) -> Iterator[Any]:
        return iter((self.path, self.label))

    def open(self) -> Video:
        """Open it, see `open_video`. Raises VideoError for a folder of another number of frames than the list says."""
        video = open_video(self.path)
        if (reason := self.miscounted(video.num_frames)) is not None:
            video.close()
            raise VideoError(self.path, reason)
        return video

    def miscounted(self, num_frames: int) -> str | None:
        """Why a folder of so many frames is not the one of the list; None where it is."""
        if self.frames in (None, num_frames):
            return None
        return f"holds {num_frames} frames, but its list says {self.frames}; complete the folder or correct the list"


class Listing(NamedTuple):
    """What a list holds: names of the classes, the videos, whether a video may have several classes or none, and lines
    on what is in it that may not be meant."""

    labels: tuple[str, ...]
    videos: list[LabelledVideo]
    multilabel: bool = False
    notes: tuple[str, ...] = ()


def read_csv(folder: Path, source: Path) -> Listing:
    """CSV with the columns `path` and `label` (or `labels`), or the official code's Kinetics lists."""
    rows = labelled_rows(source)
    if rows is None:
        first = next(filter(None, text_lines(source)), "")
        if first.rpartition(" ")[2].isdecimal():
            return read_text_list(folder, source)
        raise DataError(
            f"{source}: the first line is {first[:80]!r}; expected a header path,label[,more] or "
            "path,labels[,more], or lines of 'path label-number' without a header"
        )
    names = tuple(sorted({name for row in rows.classes for name in row}))
    numbers = {name: number for number, name in enumerate(names)}
    videos = [
        LabelledVideo(located(folder, path), tuple(sorted(numbers[name] for name in row)))
        for path, row in zip(rows.column("path"), rows.classes, strict=True)
    ]
    return Listing(names, videos, rows.multilabel, rows.notes + encoding_notes(names))


def is_text_list(source: Path) -> bool:
    """Whether the first line that holds anything is of the form `path label-number`."""
    try:
        with open_text(source) as file:
            path, _, label = next((line.strip() for line in file if line.strip()), "").rpartition(" ")
    except OSError:
        return False
    return bool(path) and label.isdecimal()


def read_text_list(folder: Path, source: Path) -> Listing:
    """Lines of `path label-number` or `folder frames label-number`."""
    rows: list[tuple[str, int]] = []
    for number, line in enumerate(text_lines(source), 1):
        path, _, label = line.rpartition(" ")
        if line and not (path and label.isdecimal()):
            raise DataError(f"{source}, line {number}: {line[:80]!r}; {why_not_a_row(line)}")
        rows += [(path.strip(), int(label))] if line else []
    root, counted = _root_of(folder, source, [path for path, _ in rows])
    if not counted:
        check_numbers(root, source, [path for path, _ in rows])
    numbers, names = {label for _, label in rows}, _label_names(folder) or None
    check_label_numbers(source, numbers, names)
    names = names or tuple(str(number) for number in range(max(numbers, default=-1) + 1))
    found = [
        LabelledVideo(located(root, _uncounted(path)), (label,), _count(path))
        if counted
        else LabelledVideo(located(root, path), (label,))
        for path, label in rows
    ]
    return Listing(names, found, notes=label_notes(numbers, names))


def _root_of(folder: Path, source: Path, paths: list[str]) -> tuple[Path, bool]:
    """What the paths of a list are relative to, and whether frame counts follow them, by the first video that exists.

    mmaction2 keeps videos in folders of its own beside DATA's lists, and counts the frames of frame folders.
    """
    splits = [split for split, names in SPLITS.items() if words(source.stem) & set(names)]
    names = [f"{kind}_{split}" for kind in ("videos", "rawframes") for split in splits]
    roots = [folder, *(folder / name for name in (*names, "videos", "rawframes"))]
    for path in paths:
        for root in roots:
            if os.path.exists(located(root, path)):
                return root, False
            if _uncounted(path) != path and os.path.isdir(located(root, _uncounted(path))):
                return root, True
    return folder, False


def _uncounted(path: str) -> str:
    """A path of a list without the number of frames that may follow it."""
    shorter, _, count = path.rpartition(" ")
    return shorter.strip() if shorter and count.isdecimal() else path


def _count(path: str) -> int | None:
    """The number of frames that follows a path of a list."""
    return int(path.rpartition(" ")[2]) if _uncounted(path) != path else None


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
    numbers = {composed(name): number for number, name in enumerate(labels)}
    root = next((path for path in (folder / "videos", folder / "20bn-something-something-v2") if path.is_dir()), folder)
    videos = []
    for entry in entries:
        if not isinstance(entry, dict) or "id" not in entry or not isinstance(entry.get("template"), str):
            raise DataError(
                f"{source}: entry {str(entry)[:80]}; expected id and template (the test list has no labels)"
            )
        label = entry["template"].replace("[", "").replace("]", "")
        if composed(label) not in numbers:
            raise DataError(f"{source}: template {label!r} is not in {label_files[0].name}")
        path = root / f"{entry['id']}.webm"
        if not os.path.exists(path) and os.path.exists(path.with_suffix(".mp4")):
            path = path.with_suffix(".mp4")
        videos.append(LabelledVideo(path, (numbers[composed(label)],)))
    return Listing(labels, videos)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not JSON that can be read: {error}") from None


def words(stem: str) -> set[str]:
    """The words of a file name, parted by _ or -."""
    return set(stem.lower().replace("-", "_").split("_"))
