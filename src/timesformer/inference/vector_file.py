"""Rows with vectors on the way to a Parquet file or a folder of arrays; in FILE.part their values are base64."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from timesformer.features.arrays import write_arrays
from timesformer.features.table import Origin, Row, write_table
from timesformer.inference.job_file import JobFile
from timesformer.inference.rows import Counts


@dataclass
class FeatureCounts(Counts):
    """Rows counted: how many, of how many videos, and how many of these could not be read, or not to their end.

    window: the number of the last row's window; None where its video has no more of them.
    """

    rows: int = 0
    videos: int = 0
    unreadable: int = 0
    window: int | None = None

    def add(self, row: Row) -> None:
        self.rows += 1
        self.videos += row.get("window", 0) == 0
        self.unreadable += "problem" in row
        ended = "problem" in row or row.get("padded") or row.get("last")
        self.window = None if ended else row.get("window")

    def expected(self, names: Sequence[str]) -> Sequence[str]:
        return names[self.videos - (self.window is not None) : self.videos + 1]


class VectorFile(JobFile[FeatureCounts]):
    """See `JobFile`. A row's vector is a numpy array; a row without one has a problem."""

    counts = FeatureCounts
    suffixes = (".parquet", "")

    def begin(self, origin: Mapping[str, Any], columns: Sequence[str], cells: str) -> FeatureCounts:
        """As `JobFile.start`. origin: what vectors are, but for their shape, as `Origin` has it; columns: those of
        lists; cells: what tells the values of these apart."""
        self._origin, self._columns = dict(origin), columns
        return self.start({**origin, "columns": cells})

    def add(self, row: Row) -> None:
        """The next row, its vector as plain values."""
        if "vector" in row:
            vector = row["vector"]
            content = vector.astype(vector.dtype.newbyteorder("<")).tobytes()
            row = {**row, "shape": vector.shape, "vector": base64.b64encode(content).decode()}
        super().add(row)

    def write(self, rows: Iterable[Row], file: Path) -> None:
        left, head = iter(rows), list[Row]()  # to the first row with a vector, whose shape is that of all
        while not head or "shape" not in head[-1]:
            head.append(next(left))
        origin = Origin(shape=tuple(head[-1]["shape"]), **self._origin)
        found = (_with_array(row, origin.dtype) for row in chain(head, left))
        (write_table if self.file.suffix else write_arrays)(found, origin, self._columns, file)


def _with_array(row: Row, dtype: str) -> Row:
    if "vector" not in row:
        return row
    values = np.frombuffer(base64.b64decode(row["vector"]), np.dtype(dtype).newbyteorder("<")).astype(dtype)
    return {**row, "vector": values.reshape(row["shape"])}
