"""The rows of timelines, one a window, on the way to a file: lines of JSON, and the same rows as CSV or Parquet.

A row is what `WindowRow.as_dict` gives, or of a video that cannot be read, or no further, its name and the problem. CSV
and Parquet have the columns video, start_s, end_s, padded, last, label, score, problem, and on request a column for the
score of each class, "score LABEL"; they are empty, or null, where they say nothing. Names that are not UTF-8 are as in
`timesformer.inference.rows`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from timesformer.files import escape, open_text
from timesformer.inference.job_file import JobFile
from timesformer.inference.rows import ROW_GROUP, Counts, Row

COLUMNS = ("video", "start_s", "end_s", "padded", "last", "label", "score", "problem")
TEXTS, REALS = ("video", "label", "problem"), ("start_s", "end_s")


@dataclass
class WindowCounts(Counts):
    """Rows counted: videos that have one, windows, and videos that cannot be read to their end.

    video, start: name of the last row's video, and when the last window starts. ended: whether it can have no more.
    """

    videos: int = 0
    windows: int = 0
    unreadable: int = 0
    video: str = ""
    start: float | None = None
    ended: bool = True

    def add(self, row: Row) -> None:
        if row["video"] != self.video or not self.videos:
            self.videos, self.video = self.videos + 1, row["video"]
        self.ended, self.start = "problem" in row, row.get("start_s")
        if self.ended:
            self.unreadable += 1
        else:
            self.windows += 1
            self.ended = row["last"] or row["padded"]

    def expected(self, names: Sequence[str]) -> Sequence[str]:
        # Also after its last window a video may have a problem: a live stream that is lost.
        lost = self.start is None
        return names[self.videos - (not lost) : self.videos + 1]


class TimelineFile(JobFile[WindowCounts]):
    """See `JobFile`. labels: the classes whose scores the rows have; none for rows without."""

    counts = WindowCounts
    labels: Sequence[str] = ()

    def write(self, rows: Iterable[Row], file: Path) -> None:
        (write_csv if self.file.suffix == ".csv" else write_parquet)(rows, self.labels, file)


def write_csv(rows: Iterable[Row], labels: Sequence[str], file: Path) -> None:
    """Rows below a header; labels: the classes whose scores they have, none for rows without."""
    with open_text(file, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow((*COLUMNS, *_score_columns(labels)))
        for row in rows:
            values = [row.get(name) for name in COLUMNS]
            plain = [str(value).lower() if isinstance(value, bool) else value for value in values]
            writer.writerow((*plain, *(_scores(row, labels))))


def write_parquet(rows: Iterable[Row], labels: Sequence[str], file: Path) -> None:
    """The same in groups, so that memory does not grow with them."""
    import pyarrow
    import pyarrow.parquet

    kinds = dict.fromkeys(TEXTS, pyarrow.string()) | dict.fromkeys(REALS, pyarrow.float64())
    kinds |= {"padded": pyarrow.bool_(), "last": pyarrow.bool_(), "score": pyarrow.float32()}
    names = [escape(name) for name in _score_columns(labels)]
    schema = pyarrow.schema([(name, kinds[name]) for name in COLUMNS] + [(name, pyarrow.float32()) for name in names])
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        left = iter(rows)
        while group := list(islice(left, ROW_GROUP)):
            columns: list[list[Any]] = [
                [escape(value) if isinstance(value, str) else value for value in (row.get(name) for row in group)]
                for name in COLUMNS
            ]
            columns += map(list, zip(*(_scores(row, labels) for row in group), strict=True))
            arrays = [pyarrow.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _score_columns(labels: Sequence[str]) -> list[str]:
    return [f"score {label}" for label in labels]


def _scores(row: Row, labels: Sequence[str]) -> list[float | None]:
    scores = row.get("scores", {})
    return [scores.get(label) for label in labels]
