"""CSV files of labelled videos: a header with the columns path and label (or labels), and any others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from timesformer.data.labels import Spellings, composed
from timesformer.data.text import csv_cells, csv_header, text_lines
from timesformer.errors import DataError


class LabelledRows(NamedTuple):
    """The rows of such a file, in its order.

    source: the file, or the folder that the rows are of. header: names of the columns. cells: of each row, one a
    column, as the file has them; empty where a row is short. classes: of each row, every class as it is spelled first.
    multilabel: whether the column is `labels`: any number of
    classes a row. notes: lines on classes that are spelled in two ways.
    """

    source: Path
    header: list[str]
    cells: list[list[str]]
    classes: list[list[str]]
    multilabel: bool
    notes: tuple[str, ...]

    def column(self, name: str) -> list[str]:
        """The cells of a column. Raises DataError where there is none of that name."""
        if name not in self.header:
            raise DataError(f"{self.source}: has no column {name}; it has {', '.join(self.header)}")
        position = self.header.index(name)
        return [row[position] for row in self.cells]

    def groups(self, by: str) -> list[str]:
        """The cells of a column of groups, such as a person or a recording.

        Raises DataError where there is no such column, where a row has none, and for a path in two groups.
        """
        group_of: dict[str, str] = {}
        groups = self.column(by)
        for path, group in zip(map(os.path.normpath, self.column("path")), groups, strict=True):
            if not group:
                raise DataError(f"{self.source}: {path} has no {by}; each video needs one")
            if group_of.setdefault(path, group) != group:
                raise DataError(
                    f"{self.source}: {path} is in the groups {group_of[path]} and {group}; a video has one {by}"
                )
        return groups


def labelled_rows(source: Path) -> LabelledRows | None:
    """Read such a file; None where its first line is not a header with path and label (or labels).

    Raises DataError, in one line, for both columns label and labels, a row without a path or a label, a class without
    a name or twice in one cell, and a file without any class.
    """
    lines = text_lines(source)
    header = csv_header(lines)
    if "label" in header and "labels" in header:
        raise DataError(f"{source}: has both a column label and a column labels; keep one")
    column = "labels" if "labels" in header else "label"
    if "path" not in header or column not in header:
        return None
    where, what = header.index("path"), header.index(column)
    rows, classes, spellings = csv_cells(source, lines), list[list[str]](), Spellings()
    for number, cells in rows:
        path, cell = cells[where], cells[what]
        if not path or not (cell or column == "labels"):
            raise DataError(f"{source}, line {number}: path {path[:80]!r}, label {cell!r}; neither may be empty")
        given = _several(source, number, cell) if column == "labels" else [cell]
        classes.append([spellings.first(name) for name in given])
    if rows and not any(classes):
        raise DataError(f"{source}: no video has a class")
    return LabelledRows(source, header, [cells for _, cells in rows], classes, column == "labels", spellings.notes)


def _several(source: Path, line: int, cell: str) -> list[str]:
    """The classes of a cell, parted by semicolons."""
    names = [name.strip() for name in cell.split(";")] if cell else []
    if not all(names):
        raise DataError(f"{source}, line {line}: labels {cell[:80]!r}; a class without a name")
    same = [composed(name) for name in names]
    twice = next((name for name in names if same.count(composed(name)) > 1), None)
    if twice is not None:
        raise DataError(f"{source}, line {line}: labels {cell[:80]!r}; class {twice} is there more than once")
    return names
