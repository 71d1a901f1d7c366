"""Text files as people write them: their lines, and rows of CSV."""

from __future__ import annotations

import csv
from pathlib import Path

from timesformer.errors import DataError


def text_lines(path: Path) -> list[str]:
    """All lines of a text file, empty ones too, without the spaces around them."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a text file that can be read: {error}") from None


def csv_header(lines: list[str]) -> list[str]:
    """Names of the columns, from the first line that holds anything."""
    first = next(filter(None, lines), "")
    return [name.strip() for name in next(csv.reader([first], skipinitialspace=True), [])]


def csv_rows(source: Path, lines: list[str], columns: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """Line numbers and the wanted fields of all rows below the header."""
    header = csv_header(lines)
    reader = csv.reader(lines, skipinitialspace=True, strict=True)
    rows, end = [], 0
    try:
        for row in reader:
            begin, end = end + 1, reader.line_num  # a quoted field may hold many lines
            if not row:
                continue
            if any(row[len(header) :]):
                raise DataError(
                    f"{source}, line {begin}: {len(row)} fields, the header has {len(header)}; a field "
                    "with a comma needs quotes"
                )
            fields = dict(zip(header, row, strict=False))
            rows.append((begin, [fields.get(column, "").strip() for column in columns]))
    except csv.Error as error:
        raise DataError(f"{source}, line {end + 1}: not CSV that can be read: {error}") from None
    return rows[1:]  # the first is the header
