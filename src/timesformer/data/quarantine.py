"""The quarantine list: DATA/quarantine.csv names the files that `timesformer data check` could not decode.

Columns `path,reason`; paths are relative to DATA, or absolute where they lie outside of it.
"""

from __future__ import annotations

import os
from pathlib import Path

from timesformer.data.text import csv_header, csv_rows, text_lines, write_csv
from timesformer.errors import DataError, one_line

COLUMNS = ("path", "reason")


def quarantine_file(folder: Path) -> Path:
    """The list that training and testing honour."""
    return folder / "quarantine.csv"


def read_quarantine(folder: Path, file: Path) -> dict[Path, str]:
    """Absolute paths of a list, and their reasons; empty where the file does not exist.

    Raises DataError, in one line, for a file that is not such a list.
    """
    if not file.exists():
        return {}
    lines = text_lines(file)
    header = csv_header(lines)
    if any(column not in header for column in COLUMNS):
        first = next(filter(None, lines), "")
        raise DataError(f"{file}: the first line is {first[:80]!r}; expected a header path,reason")
    listed = {}
    for number, (path, reason) in csv_rows(file, lines, COLUMNS):
        if not path:
            raise DataError(f"{file}, line {number}: the path is empty")
        listed[absolute(folder / path)] = reason
    return listed


def write_quarantine(folder: Path, file: Path, reasons: dict[Path, str]) -> None:
    """Write the list; where nothing is to be listed, remove it.

    The file appears when it is complete. Raises DataError where it cannot be written.
    """
    try:
        if not reasons:
            file.unlink(missing_ok=True)
            return
        write_csv(file, COLUMNS, ((inside(folder, path), one_line(reason)) for path, reason in reasons.items()))
    except OSError as error:
        raise DataError(f"{file}: cannot be written: {error.strerror}") from None


def absolute(path: Path) -> Path:
    """A path without `..` and from the root on; links are left as they are."""
    return Path(os.path.abspath(path))


def inside(folder: Path, path: Path) -> str:
    """A path as lists of the data set write it."""
    path, folder = absolute(path), absolute(folder)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)
