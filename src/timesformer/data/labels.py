"""Class names in a text file, one a line."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from timesformer.data.text import text_lines
from timesformer.errors import DataError
from timesformer.files import is_utf_8


def composed(name: str) -> str:
    """A class name by which its spellings are equal: in Unicode an é is one character, or an e and an accent."""
    return unicodedata.normalize("NFC", name)


class Spellings:
    """The classes of a list, each as it is spelled first."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._twice: dict[str, None] = {}

    def first(self, name: str) -> str:
        """How the class was spelled first."""
        first = self._first.setdefault(composed(name), name)
        if first != name:
            self._twice[first] = None
        return first

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines on classes spelled in two ways."""
        return tuple(f"class {name} is spelled in two ways, composed and decomposed; it is one" for name in self._twice)


def read_labels(file: str | Path) -> tuple[str, ...]:
    """Class names of a text file, one a line, in the order of their numbers; empty lines at its end do not count.

    Raises DataError, in one line, for a file that cannot be read or is not UTF-8, an empty line before the last name,
    and a name that is there twice.
    """
    path = Path(file)
    names = text_lines(path)
    while names and not names[-1]:
        names.pop()
    lines: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name:
            raise DataError(f"{path}, line {number}: empty; expected a class name in every line")
        if not is_utf_8(name):
            raise DataError(f"{path}, line {number}: class {name} is not UTF-8; save the file as UTF-8")
        first = lines.setdefault(composed(name), number)
        if first != number:
            raise DataError(f"{path}, line {number}: class {name} is already in line {first}; expected each class once")
    return tuple(names)
