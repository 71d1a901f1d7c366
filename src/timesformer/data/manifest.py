"""Lists of labelled videos, read from any of the layouts people have.

    layout                       files in DATA
    class folders                train/CLASS/VIDEO, val/..., test/...
    CSV with a header            train.csv, val.csv, test.csv: path,label[,more]
    Kinetics CSV, official code  the same names without a header: "path label-number" a line
    mmaction2 list               *train*.txt, *val*.txt, *test*.txt: "path label-number" or "folder frames label-number"
    Something-Something V2       *train.json, *validation.json and *labels.json, there or in labels/

Paths are relative to DATA. Lists with label numbers take their names from labels.txt or label_map*.txt, one a line.
A path may be a video file or a folder of image frames.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from timesformer.errors import DataError
from timesformer.video.images import IMAGE_SUFFIXES
from timesformer.video.source import VIDEO_SUFFIXES

SPLITS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}


class LabelledVideo(NamedTuple):
    """A video file (or folder of frames) and its class, an index of the manifest's labels."""

    path: Path
    label: int


@dataclass(frozen=True)
class Manifest:
    """One split of a data set.

    source: the list or folder it was read from; folder: the data set; split: "train", "val" or "test";
    labels: names of the classes of this split, or of the whole data set where it lists them; videos: the labelled
    videos.
    """

    folder: Path
    source: Path
    split: str
    labels: tuple[str, ...]
    videos: tuple[LabelledVideo, ...]

    def __repr__(self) -> str:
        return f"Manifest({self.source}: {len(self.videos)} videos, {len(self.labels)} classes)"

    def with_labels(self, labels: tuple[str, ...]) -> Manifest:
        """The same videos numbered by other labels, such as those of a trained model.

        Raises DataError for a class that `labels` does not have.
        """
        if labels == self.labels:
            return self
        used = sorted({self.labels[video.label] for video in self.videos})
        numbers = {name: number for number, name in enumerate(labels)}
        unnamed = self.labels == tuple(str(number) for number in range(len(self.labels)))
        if unnamed and not any(name.isdecimal() for name in labels):
            numbers = {str(number): number for number in range(len(labels))} | numbers
        unknown = [name for name in used if name not in numbers]
        if unknown:
            raise DataError(f"{self.source}: class {_some(unknown)} is unknown; the classes are {_some(labels)}")
        videos = tuple(LabelledVideo(path, numbers[self.labels[label]]) for path, label in self.videos)
        return Manifest(self.folder, self.source, self.split, labels, videos)


def read_manifest(data: str | Path, split: str) -> Manifest:
    """Read one split ("train", "val" or "test") of a data set folder.

    Raises DataError, in one line, for a folder without such a split, a list that cannot be read, an empty split.
    Whether the videos can be read is only known when they are.
    """
    folder = Path(data)
    if split not in SPLITS:
        raise DataError(f"split {split!r}: expected train, val or test")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such data folder")
    source, read = _find(folder, split)
    labels, videos = read(folder, source)
    if not videos:
        allowed = "a folder of videos for each class" if source.is_dir() else "at least one"
        raise DataError(f"{source}: holds no videos; expected {allowed}")
    return Manifest(folder, source, split, labels, tuple(videos))


def find_splits(data: str | Path) -> list[str]:
    """The splits that a data set folder has."""
    return [split for split in SPLITS if _sources(Path(data), split)]


Reader = Callable[[Path, Path], tuple[tuple[str, ...], list[LabelledVideo]]]


def _find(folder: Path, split: str) -> tuple[Path, Reader]:
    sources = _sources(folder, split)
    if len(sources) > 1:
        names = ", ".join(source.name for source, _ in sources)
        raise DataError(f"{folder}: more than one list for {split}: {names}; keep one")
    if sources:
        return sources[0]
    there = find_splits(folder)
    if there:
        raise DataError(f"{folder}: has no {split} split; it has {', '.join(there)}")
    raise DataError(f"{folder}: no data set found; expected {split}/ with class folders, {split}.csv with columns "
                    "path,label, an mmaction2 list or Something-Something JSON")  # fmt: skip


def _sources(folder: Path, split: str) -> list[tuple[Path, Reader]]:
    """The lists or folders that may hold a split; the first kind of layout that is there wins."""
    names = SPLITS[split]
    layouts: list[tuple[list[Path], Reader]] = [
        ([folder / f"{name}.csv" for name in names], _read_csv),
        (sorted(p for place in (folder, folder / "labels") for name in names for p in place.glob(f"*{name}.json")),
         _read_something),
        (sorted(p for p in folder.glob("*.txt") if _words(p.stem) & set(names)), _read_text_list),
        ([folder / name for name in names if (folder / name).is_dir()], _read_folders),
    ]  # fmt: skip
    for paths, reader in layouts:
        found = [path for path in paths if path.exists()]
        if found:
            return [(path, reader) for path in found]
    return []


def _read_folders(folder: Path, source: Path) -> tuple[tuple[str, ...], list[LabelledVideo]]:
    classes = [entry for entry in sorted(source.iterdir()) if entry.is_dir() and not entry.name.startswith(".")]
    found = {entry.name: find_videos(entry) for entry in classes}
    labels = tuple(name for name, paths in found.items() if paths)
    return labels, [LabelledVideo(path, number) for number, name in enumerate(labels) for path in found[name]]


def find_videos(folder: Path) -> list[Path]:
    """All video files and folders of image frames below a folder, in order of their paths.

    Pictures beside video files are not frames; what is hidden is left out.
    """
    videos, frames = set(), set()
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        if path.suffix.lower() in VIDEO_SUFFIXES:
            videos.add(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            frames.add(path.parent)
    return sorted(videos | frames - {path.parent for path in videos})


def _read_csv(folder: Path, source: Path) -> tuple[tuple[str, ...], list[LabelledVideo]]:
    lines = _lines(source)
    first = next(filter(None, lines), "")
    header = [name.strip() for name in next(csv.reader([first], skipinitialspace=True), [])]
    if "path" not in header or "label" not in header:
        if first.rpartition(" ")[2].isdecimal():
            return _read_text_list(folder, source)
        raise DataError(f"{source}: the first line is {first[:80]!r}; expected a header path,label[,more], or lines of "
                        "'path label-number' without a header")  # fmt: skip
    rows = _csv_rows(source, lines, header)
    labels = tuple(sorted({label for _, label in rows}))
    numbers = {name: number for number, name in enumerate(labels)}
    return labels, [LabelledVideo(folder / path, numbers[label]) for path, label in rows]


def _csv_rows(source: Path, lines: list[str], header: list[str]) -> list[tuple[str, str]]:
    """Path and label of all rows below the header."""
    reader = csv.reader(lines, skipinitialspace=True, strict=True)
    rows, end = [], 0
    try:
        for row in reader:
            begin, end = end + 1, reader.line_num  # a quoted field may hold many lines
            if not row:
                continue
            if any(row[len(header) :]):
                raise DataError(f"{source}, line {begin}: {len(row)} fields, the header has {len(header)}; a path with "
                                "a comma needs quotes")  # fmt: skip
            fields = dict(zip(header, row, strict=False))
            path, label = (fields.get(column, "").strip() for column in ("path", "label"))
            if not path or not label:
                raise DataError(f"{source}, line {begin}: path {path[:80]!r}, label {label!r}; neither may be empty")
            rows.append((path, label))
    except csv.Error as error:
        raise DataError(f"{source}, line {end + 1}: not CSV that can be read: {error}") from None
    return rows[1:]  # the first is the header


def _read_text_list(folder: Path, source: Path) -> tuple[tuple[str, ...], list[LabelledVideo]]:
    rows: list[tuple[str, int]] = []
    for number, line in enumerate(_lines(source), 1):
        path, _, label = line.rpartition(" ")
        if line and not (path and label.isdecimal()):
            raise DataError(f"{source}, line {number}: {line[:80]!r}; expected 'path label-number'")
        rows += [(path.strip(), int(label))] if line else []
    place, counted = _place_of(folder, source, [path for path, _ in rows])
    top = max((label for _, label in rows), default=-1)
    names = _label_names(folder) or tuple(str(number) for number in range(top + 1))
    if top >= len(names):
        raise DataError(
            f"{source}: label number {top}; there are {len(names)} label names, so at most {len(names) - 1}"
        )
    return names, [LabelledVideo(place / (_uncounted(path) if counted else path), label) for path, label in rows]


def _place_of(folder: Path, source: Path, paths: list[str]) -> tuple[Path, bool]:
    """Where the paths of a list start from, and whether frame counts follow them; the first video there is tells.

    mmaction2 keeps videos in folders of its own beside DATA's lists, and counts the frames of frame folders.
    """
    splits = [split for split, names in SPLITS.items() if _words(source.stem) & set(names)]
    names = [f"{kind}_{split}" for kind in ("videos", "rawframes") for split in splits]
    places = [folder, *(folder / name for name in (*names, "videos", "rawframes"))]
    for path in paths:
        for place in places:
            if (place / path).exists():
                return place, False
            if _uncounted(path) != path and (place / _uncounted(path)).is_dir():
                return place, True
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
    names = _lines(file)
    while names and not names[-1]:
        names.pop()
    for number, name in enumerate(names, 1):
        if not name:
            raise DataError(f"{file}, line {number}: empty; expected a class name in every line")
        if names.index(name) < number - 1:
            raise DataError(f"{file}, line {number}: class {name} is there already, in line {names.index(name) + 1}")
    return tuple(names)


def _read_something(folder: Path, source: Path) -> tuple[tuple[str, ...], list[LabelledVideo]]:
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
    place = next(
        (path for path in (folder / "videos", folder / "20bn-something-something-v2") if path.is_dir()), folder
    )
    videos = []
    for entry in entries:
        if not isinstance(entry, dict) or "id" not in entry or not isinstance(entry.get("template"), str):
            raise DataError(
                f"{source}: entry {str(entry)[:80]}; expected id and template (the test list has no labels)"
            )
        label = entry["template"].replace("[", "").replace("]", "")
        if label not in numbers:
            raise DataError(f"{source}: template {label!r} is not in {label_files[0].name}")
        path = place / f"{entry['id']}.webm"
        if not path.exists() and path.with_suffix(".mp4").exists():
            path = path.with_suffix(".mp4")
        videos.append(LabelledVideo(path, numbers[label]))
    return labels, videos


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not JSON that can be read: {error}") from None


def _lines(path: Path) -> list[str]:
    """All lines of a text file, empty ones too, without the spaces around them."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a text file that can be read: {error}") from None


def _words(stem: str) -> set[str]:
    return set(stem.lower().replace("-", "_").split("_"))


def _some(names: list[str] | tuple[str, ...]) -> str:
    """The first few of many names."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
