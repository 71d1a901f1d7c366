"""Ground-truth segments of videos, from a CSV file: a header with the columns start, end and label, and video where the
file is of several videos; others are ignored. Times are in seconds after the first frame of the video."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from timesformer.data.labels import composed
from timesformer.data.text import csv_header, csv_rows, text_lines
from timesformer.errors import DataError
from timesformer.evaluation.temporal import TrueSegment

COLUMNS = ("start", "end", "label")


class Truth(NamedTuple):
    """The ground-truth segments of a file.

    source: the file. segments: of the videos that were asked for, by their names, without background classes; labels as
    the weights spell them. lines: of the file, for each of them. others: how many rows are of other videos.
    """

    source: Path
    segments: tuple[TrueSegment, ...]
    lines: tuple[int, ...]
    others: int

    def check_lengths(self, seconds: Mapping[str, float]) -> None:
        """Raises DataError for a segment that starts when its video has ended; seconds: how long each video is."""
        for line, one in zip(self.lines, self.segments, strict=True):
            if one.video in seconds and one.start >= seconds[one.video]:
                raise DataError(
                    f"{self.source}, line {line}: start {one.start:g}; {one.video} ends at {seconds[one.video]:.2f} s"
                )


def read_truth(
    file: str | Path, videos: Sequence[str], labels: Sequence[str], background: Collection[str] = ()
) -> Truth:
    """The ground-truth segments of some videos.

    videos: their names, such as paths. A cell `video` of the file is such a name, or a path relative to the file's
    folder; a file without this column is of one video. labels: classes of the weights. background: those of them whose
    moments are of no class; their rows only have to be correct.

    Raises DataError, in one line, for a file that cannot be read or lacks a column, a row without finite times, with an
    end that is not after its start or a start below 0, or with a class that the weights do not have, and where no row
    is of any of the videos.
    """
    path = Path(file)
    lines = text_lines(path)
    header = csv_header(lines)
    if missing := [name for name in COLUMNS if name not in header]:
        found = ", ".join(header) or "nothing"
        raise DataError(
            f"{path}: has no column {missing[0]}; expected start,end,label in its first line, found {found}"
        )
    several = "video" in header
    if not several and len(videos) != 1:
        raise DataError(f"{path}: has no column video; expected one, as {len(videos)} videos are given")
    names = {_place(Path(video)): video for video in videos}
    known = {composed(label): label for label in labels}
    nothing = {composed(label) for label in background}
    segments, numbers, others, rows = [], [], 0, 0
    for line, cells in csv_rows(path, lines, (*COLUMNS, *(("video",) if several else ()))):
        rows += 1
        start, end = _times(path, line, *cells[:2])
        video = _video(cells[3], path.parent, names) if several else videos[0]
        if video is None:
            others += 1
        elif composed(cells[2]) not in known:
            raise DataError(f"{path}, line {line}: label {cells[2]!r}; the weights have no such class")
        elif composed(cells[2]) not in nothing:
            segments.append(TrueSegment(video, start, end, known[composed(cells[2])]))
            numbers.append(line)
    if rows == others and rows:
        raise DataError(f"{path}: all {rows} rows are of other videos; expected {videos[0]} in the column video")
    return Truth(path, tuple(segments), tuple(numbers), others)


def _times(path: Path, line: int, start: str, end: str) -> tuple[float, float]:
    values = []
    for name, text in (("start", start), ("end", end)):
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DataError(f"{path}, line {line}: {name} {text!r}; expected seconds")
        values.append(value)
    if not 0 <= values[0] < values[1]:
        raise DataError(f"{path}, line {line}: start {start}, end {end}; expected 0 <= start < end")
    return values[0], values[1]


def _place(path: Path) -> str:
    return os.path.realpath(path)


def _video(cell: str, folder: Path, names: Mapping[str, str]) -> str | None:
    """Which of the videos a cell names."""
    return names.get(_place(Path(cell)), names.get(_place(folder / cell)))
