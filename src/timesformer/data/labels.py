"""Class names in a text file, one a line."""

from __future__ import annotations

from pathlib import Path

from timesformer.data.text import text_lines
from timesformer.errors import DataError


def read_labels(file: str | Path) -> tuple[str, ...]:
    """Class names of a text file, one a line, in the order of their numbers; empty lines at its end do not count.

    Raises DataError, in one line, for a file that cannot be read, an empty line before the last name, and a name that
    is there twice.
    """
    path = Path(file)
    names = text_lines(path)
    while names and not names[-1]:
        names.pop()
    lines: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise DataError(f"{path}, line {number}: empty; expected a class name in every line")
        if name in lines:
            raise DataError(
                f"{path}, line {number}: class {name} is already in line {lines[name]}; expected each class once"
            )
        lines[name] = number
    return tuple(names)
