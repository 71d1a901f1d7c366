"""One split of a data set: its videos, its classes, and the videos it skips."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from timesformer.data.labelled_csv import LabelledRows, labelled_rows
from timesformer.data.labels import composed
from timesformer.data.layouts import find_split, find_splits, is_one_split, read_folders, some, split_of
from timesformer.data.list_checks import check_paths, located
from timesformer.data.lists import SPLITS, LabelledVideo, read_csv
from timesformer.data.quarantine import absolute, inside, quarantine_file, read_quarantine
from timesformer.errors import DataError, SettingError


@dataclass(frozen=True)
class Manifest:
    """One split of a data set.

    source: the list or folder it was read from; folder: the data set; split: "train", "val" or "test", or "all" of data
    that are not split;
    labels: names of the classes of this split, or of the whole data set where it lists them; videos: the labelled
    videos; multilabel: whether a video may have several classes or none; quarantined: videos of the split that
    the quarantine list names, which are not in `videos`; notes: lines on what is in it that may not be meant, such as
    files that were ignored.
    """

    folder: Path
    source: Path
    split: str
    labels: tuple[str, ...]
    videos: tuple[LabelledVideo, ...]
    multilabel: bool = False
    quarantined: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        skipped = f", {len(self.quarantined)} quarantined" if self.quarantined else ""
        return f"Manifest({self.source}: {len(self.videos)} videos{skipped}, {len(self.labels)} classes)"

    def with_labels(self, labels: tuple[str, ...]) -> Manifest:
        """The same videos numbered by other labels, such as those of a trained model.

        Raises DataError for a class that `labels` does not have.
        """
        if labels == self.labels:
            return self
        used = sorted({self.labels[label] for video in self.videos for label in video.labels})
        numbers = {composed(name): number for number, name in enumerate(labels)}
        numbers |= {name: number for number, name in enumerate(labels)}
        unnamed = self.labels == tuple(str(number) for number in range(len(self.labels)))
        if unnamed and not any(name.isdecimal() for name in labels):
            numbers = {str(number): number for number in range(len(labels))} | numbers
        numbers |= {name: numbers[composed(name)] for name in used if name not in numbers and composed(name) in numbers}
        unknown = [name for name in used if name not in numbers]
        if unknown:
            what = f"class {unknown[0]} is" if len(unknown) == 1 else f"classes {some(unknown)} are"
            raise DataError(f"{self.source}: {what} unknown; the classes are {some(labels)}")
        videos = tuple(
            replace(video, labels=tuple(sorted(numbers[self.labels[label]] for label in video.labels)))
            for video in self.videos
        )
        return replace(self, labels=labels, videos=videos)

    def digest(self) -> str:
        """A hash of the videos, in their order, by their paths inside the data set and the names of their classes."""
        lines = [
            f"{inside(self.folder, video.path)}\t{';'.join(self.labels[label] for label in video.labels)}\n"
            for video in self.videos
        ]
        return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()[:16]

    def subset(self, fraction: float, seed: int) -> Manifest:
        """A part of the videos, in the same order: `fraction` of each class, rounded, and at least one video of it.

        The seed decides which; a smaller subset of the same seed is part of a larger one. In multi-label data a video
        counts for the rarest of its classes, and videos of no class count together. Raises SettingError for a fraction
        that is not above 0 and at most 1.
        """
        if not 0 < fraction <= 1:
            raise SettingError(f"fraction {fraction}: expected a fraction above 0, at most 1")
        if fraction == 1:
            return self
        counts = Counter(label for video in self.videos for label in video.labels)
        order = list(range(len(self.videos)))
        random.Random(f"subset {seed}").shuffle(order)
        strata: dict[int | None, list[int]] = {}
        first: dict[int, int] = {}  # a row of each class
        for row in order:
            labels = self.videos[row].labels
            rarest = min(labels, key=lambda label: (counts[label], label), default=None)
            strata.setdefault(rarest, []).append(row)
            for label in labels:
                first.setdefault(label, row)
        kept = set(first.values())
        for rows in strata.values():
            kept.update(rows[: max(1, round(fraction * len(rows)))])
        return replace(self, videos=tuple(video for row, video in enumerate(self.videos) if row in kept))

    def part(self, rows: Iterable[int]) -> Manifest:
        """The videos of these rows alone, with the same classes."""
        return replace(self, videos=tuple(self.videos[row] for row in rows))

    def groups(self, column: str | None) -> list[str]:
        """The group of each video, such as a person or a recording, in a column of the list; without one, its path.

        Raises DataError for a list without such a column, or one with a video in no group or in two.
        """
        if column is None:
            return [str(absolute(video.path)) for video in self.videos]
        rows = self._rows(column, "groups need")
        paths = (located(self.folder, path) for path in rows.column("path"))
        group_of = dict(zip(paths, rows.groups(column), strict=True))
        return [group_of[video.path] for video in self.videos]

    def cells(self, column: str, what: str) -> list[str]:
        """What a column of the list has of each video, "" where nothing; `what`: what it is, for messages.

        Raises DataError for a list without such a column, and one with a video that has two different cells.
        """
        rows = self._rows(column, f"{what} need")
        found: dict[Path, str] = {}
        for path, cell in zip(rows.column("path"), rows.column(column), strict=True):
            if (before := found.setdefault(located(self.folder, path), cell)) != cell:
                raise DataError(f"{self.source}: {path} has {column} {before!r} and {cell!r}; expected one of them")
        return [found[video.path] for video in self.videos]

    def _rows(self, column: str, what: str) -> LabelledRows:
        """The rows of the list. `what`: what needs it to have the column, for messages."""
        rows = labelled_rows(self.source) if self.source.is_file() else None
        if rows is None:
            has = "no header with path,label" if self.source.is_file() else "class folders, which have no columns"
            raise DataError(
                f"{self.source}: has no column {column}: {has}; {what} CSV lists with the header path,label,{column}"
            )
        return rows


def read_manifest(data: str | Path, split: str, *, quarantine: bool | Path = True) -> Manifest:
    """Read one split ("train", "val" or "test") of a data set folder.

    Videos that DATA/quarantine.csv names, or the list `quarantine`, are skipped and counted; with `quarantine=False`
    they are kept. Raises DataError, in one line, for a folder without such a split, a list that cannot be read, an
    empty split. Whether the videos can be read is only known when they are.
    """
    folder = Path(data)
    if split not in SPLITS:
        raise DataError(f"split {split!r}: expected train, val or test")
    source, read = find_split(folder, split)
    labels, videos, multilabel, notes = read(folder, source)
    check_paths(folder, source, [video.path for video in videos])
    if not videos:
        allowed = "a folder of videos for each class" if source.is_dir() else "at least one"
        raise DataError(f"{source}: holds no videos; expected {allowed}")
    file = quarantine if isinstance(quarantine, Path) else quarantine_file(folder)
    if isinstance(quarantine, Path) and not file.is_file():
        raise DataError(f"{file}: no such file; expected a list of videos to skip, path,reason")
    listed = read_quarantine(folder, file) if quarantine else {}
    skipped = [video for video in videos if absolute(video.path) in listed] if listed else []
    if len(skipped) == len(videos):
        raise DataError(f"{source}: all of its {len(videos)} videos are in {file.name}")
    quarantined = {video.path for video in skipped}
    kept = tuple(video for video in videos if video.path not in quarantined)
    return Manifest(folder, source, split, labels, kept, multilabel, tuple(video.path for video in skipped), notes)


def read_unsplit(data: Path) -> Manifest | None:
    """All videos, those in quarantine too, of a folder of class folders or of one CSV, which no lists split yet.

    None where it is neither. Raises DataError for a CSV that cannot be read, and one that is the list of a split.
    """
    if data.is_file():
        if (split := split_of(data)) is not None:
            raise DataError(f"{data}: the list of the {split} split of {data.parent}; check {data.parent}")
        folder, listing = data.parent, read_csv(data.parent, data)
        check_paths(folder, data, [video.path for video in listing.videos])
    elif data.is_dir() and not find_splits(data) and not is_one_split(data):
        folder, listing = data, read_folders(data, data)
    else:
        return None
    if not listing.videos:
        return None
    return Manifest(folder, data, "all", listing.labels, tuple(listing.videos), listing.multilabel, (), listing.notes)
