"""What a study has written."""

from __future__ import annotations

from pathlib import Path

from timesformer.study.results import Row
from timesformer.study.rows import read_rows


def read_results(file: Path) -> list[Row]:
    """The rows of a results.csv."""
    return read_rows(Row, file, "results of a study")
