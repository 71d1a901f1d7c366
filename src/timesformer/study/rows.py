"""Tables of a study as CSV, a row class each: whole or not at all, and read as strictly as they were written."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, BeforeValidator

from timesformer.errors import DataError
from timesformer.files import replacing


def _known(value: Any) -> Any:
    return None if value == "" else value


Row = TypeVar("Row", bound=BaseModel)
Maybe = BeforeValidator(_known)  # of a field that is empty where nothing is known


def write_rows(kind: type[Row], rows: Sequence[Row], file: Path) -> None:
    """Write such a table, with the names of the fields in its first line."""
    with replacing(file) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(kind.model_fields), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.model_dump() for row in rows)


def read_rows(kind: type[Row], file: Path, what: str) -> list[Row]:
    """The rows of such a table. what: it is, in the DataError of one line that any other file raises."""
    try:
        with file.open(newline="", encoding="utf-8") as stream:
            return [kind.model_validate(line) for line in csv.DictReader(stream)]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file}: {error.strerror if isinstance(error, OSError) else f'no {what}'}") from None
