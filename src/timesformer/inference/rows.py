"""Rows of a prediction, one a video: lines of JSON, and the same rows as CSV or Parquet.

A row is what `Answer.as_dict` gives. As CSV it has the columns video, label_1, score_1, label_2, ..., problem, seconds,
frames, seen_seconds, seen_frames, empty where they say nothing, and bytes of names that are not UTF-8 as they are; as
Parquet the fields of JSON, null where they say nothing, and escapes for such bytes (`timesformer.files`).
"""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from timesformer.files import as_json, escape, open_text
from timesformer.video.seen import Seen

Row = dict[str, Any]
FACTS = ("problem", "seconds", "frames", "seen_seconds", "seen_frames")
ROW_GROUP = 10_000


def as_line(row: Row) -> bytes:
    """A row as a line of JSON Lines."""
    return as_json(row).encode() + b"\n"


def read_lines(lines: Iterable[bytes]) -> Iterator[Row]:
    """The rows of JSON Lines."""
    return map(json.loads, lines)


def write_csv(rows: Iterable[Row], classes: int, file: Path) -> None:
    """Rows of at most `classes` predictions, below a header."""
    names = chain.from_iterable((f"label_{rank}", f"score_{rank}") for rank in range(1, classes + 1))
    with open_text(file, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("video", *names, *FACTS))
        for row in rows:
            found = list(chain.from_iterable((one["label"], one["score"]) for one in row["predictions"]))
            empty = [None] * (2 * classes - len(found))
            writer.writerow((row["video"], *found, *empty, *(row.get(fact) for fact in FACTS)))


def write_parquet(rows: Iterable[Row], file: Path) -> None:
    """Rows in groups, so that memory does not grow with them."""
    import pyarrow
    import pyarrow.parquet

    text, real, count = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    prediction = pyarrow.struct([("label", text), ("score", pyarrow.float32())])
    facts = dict(zip(FACTS, (text, real, count, real, count), strict=True))
    schema = pyarrow.schema([("video", text), ("predictions", pyarrow.list_(prediction)), *facts.items()])
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        left = iter(rows)
        while group := list(islice(left, ROW_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist([_escaped(row) for row in group], schema=schema))


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _escaped(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_escaped(part) for part in value]
    return escape(value) if isinstance(value, str) else value


@dataclass
class Counts(ABC):
    """Rows counted, in their order."""

    @abstractmethod
    def add(self, row: Row) -> None:
        """Count a row."""

    @abstractmethod
    def expected(self, names: Sequence[str]) -> Sequence[str]:
        """What the next row may call its video, out of the names of all videos; nothing after the last row."""


@dataclass
class Tally(Counts):
    """Rows counted: how many, of how many videos that cannot be read, and that were sampled sparsely."""

    videos: int = 0
    unreadable: int = 0
    sparse: int = 0
    example: str = ""

    def add(self, row: Row) -> None:
        self.videos += 1
        self.unreadable += "problem" in row
        if "seen_frames" in row:
            seen = Seen.from_dict(row)
            self.sparse += seen.sparse
            self.example = self.example or (f"{row['video']}: {seen}" if seen.sparse else "")

    def expected(self, names: Sequence[str]) -> Sequence[str]:
        return names[self.videos : self.videos + 1]
