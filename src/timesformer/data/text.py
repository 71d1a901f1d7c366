"""Text files as people write them: their lines, and rows of CSV; how this package writes lists."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from timesformer.errors import DataError
from timesformer.files import open_text, replacing

UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")  # the marks that such files begin with


def text_lines(path: Path) -> list[str]:
    """All lines of a text file, empty ones too, without the spaces around them.

    Names in it need not be UTF-8, see `timesformer.files`. Raises DataError for UTF-16 and for what is no text.
    """
    try:
        with open_text(path) as stream:
            text = stream.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if "\0" in text or text.startswith(UTF_16):
        raise DataError(f"{path}: not a text file in UTF-8; save it as one")
    return [line.strip() for line in text.split("\n")]


def csv_header(lines: list[str]) -> list[str]:
    """Names of the columns, from the first line that holds anything."""
    first = next(filter(None, lines), "")
    return [name.strip() for name in next(csv.reader([first], skipinitialspace=True), [])]


def csv_cells(source: Path, lines: list[str]) -> list[tuple[int, list[str]]]:
    """Line numbers and the cells of all rows below the header, one a column; a row that is short ends in empty ones."""
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
            cells = [cell.strip() for cell in row[: len(header)]]
            rows.append((begin, cells + [""] * (len(header) - len(cells))))
    except csv.Error as error:
        raise DataError(f"{source}, line {end + 1}: not CSV that can be read: {error}") from None
    return rows[1:]  # the first is the header


def csv_rows(source: Path, lines: list[str], columns: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """Line numbers and the wanted fields of all rows below the header, which has these columns."""
    positions = [csv_header(lines).index(column) for column in columns]
    return [(number, [cells[position] for position in positions]) for number, cells in csv_cells(source, lines)]


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file, whole; the lines bring their ends."""
    with replacing(path) as temporary, open_text(temporary, "w") as stream:
        stream.writelines(lines)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a CSV file, whole."""
    with replacing(path) as temporary, open_text(temporary, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
