"""Parts of a manifest as a data set of their own: a folder of lists of the same videos, by their absolute paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timesformer.data.labelled_csv import labelled_rows
from timesformer.data.list_checks import located
from timesformer.data.lists import LabelledVideo
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.data.quarantine import absolute
from timesformer.data.text import write_csv, write_lines
from timesformer.errors import DataError


def write_lists(manifest: Manifest, parts: Mapping[str, Sequence[int]], folder: Path) -> None:
    """Write the rows of each part as the list of a split, such as {"train": [0, 2], "test": [1]}.

    Read again, a list has the same videos and classes. Lists of CSV keep all of their columns. Of other layouts a list
    is CSV with path and label, or text as mmaction2 has it, with labels.txt, where classes have an order of their own
    or the list says how many frames a folder holds.

    Raises DataError for a video whose path no list can hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = _table(manifest)
    if table is None:
        write_lines(folder / "labels.txt", (f"{name}\n" for name in manifest.labels))
    for split, rows in parts.items():
        videos = [manifest.videos[row] for row in rows]
        if table is None:
            write_lines(folder / f"{split}.txt", map(_text, videos))
        else:
            header, *cells = table
            write_csv(folder / f"{split}.csv", header, [cells[row] for row in rows])
        again = read_manifest(folder, split, quarantine=False).with_labels(manifest.labels)
        for video, found in zip(videos, again.videos, strict=True):
            if _identity(video) != _identity(found):
                raise DataError(f"{video.path}: a list cannot hold this path; rename it, without spaces at its ends")


def _table(manifest: Manifest) -> list[list[str]] | None:
    """A header, and the cells of each video; None where CSV cannot hold what the list holds."""
    rows = labelled_rows(manifest.source) if manifest.source.suffix == ".csv" else None
    names = [";".join(manifest.labels[label] for label in video.labels) for video in manifest.videos]
    paths = [str(absolute(video.path)) for video in manifest.videos]
    if rows is None:
        counted = any(video.frames is not None for video in manifest.videos)
        if counted or list(manifest.labels) != sorted(set(names)):
            return None
        return [["path", "label"], *map(list, zip(paths, names, strict=True))]
    where, what = rows.header.index("path"), rows.header.index("labels" if rows.multilabel else "label")
    skipped = set(manifest.quarantined)
    kept = [list(cells) for cells in rows.cells if located(manifest.folder, cells[where]) not in skipped]
    for cells, path, name in zip(kept, paths, names, strict=True):
        cells[where], cells[what] = path, name
    return [rows.header, *kept]


def _text(video: LabelledVideo) -> str:
    frames = "" if video.frames is None else f" {video.frames}"
    return f"{absolute(video.path)}{frames} {video.label}\n"


def _identity(video: LabelledVideo) -> tuple[Any, ...]:
    return str(absolute(video.path)), video.labels, video.frames
