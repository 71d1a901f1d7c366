"""The rows of a job that can be stopped at any time, on the way to a file.

    FILE.job     what the rows are made with, as JSON; written before the first row, and kept; with the last row, counts
    FILE.part    the rows that are known, as JSON Lines, in the order of the videos; locked by the process that writes
    FILE         all rows; appears when they are complete

A row is on its way to the disk as soon as it is known, so SIGKILL loses none of them; after a power failure the last
SECONDS may be computed again. A last line that is not whole is cut off when the job is resumed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Generic, Self, TypeVar

from timesformer.errors import SettingError
from timesformer.files import as_json, flush, replacing
from timesformer.inference.rows import Counts, Row, as_line, read_lines

SUFFIXES = (".jsonl", ".csv", ".parquet")
SECONDS = 5  # between two moments when what is written is made sure to be on the disk


C = TypeVar("C", bound=Counts)


class JobFile(ABC, Generic[C]):
    """The rows of some videos, in their order. Use it with `with`.

    file: of one of the `suffixes`; "" is a folder. names: what the rows call the videos. resume: go on with the rows
    that are there.
    Attributes: `complete`, whether `file` is there, with all rows; `begun`, whether it is, or some of its rows.

    Raises SettingError for another suffix, and for a file or rows that are there already without `resume`.
    """

    counts: type[C]  # how the rows of this kind are counted
    suffixes: tuple[str, ...] = SUFFIXES

    def __init__(self, file: Path, names: Sequence[str], *, resume: bool) -> None:
        self.file, self.names, self.resume = file, names, resume
        self.part, self.about = (file.with_name(file.name + suffix) for suffix in (".part", ".job"))
        self._stream: BinaryIO | None = None
        self._saved = 0.0
        if file.suffix not in self.suffixes:
            *some, last = [f"*{suffix}" if suffix else "a folder" for suffix in self.suffixes]
            raise SettingError(f"{file}: expected {', '.join(some)} or {last}")
        if not file.parent.is_dir():
            raise SettingError(f"{file}: no such folder {file.parent}")
        if file.suffix and file.is_dir():
            raise SettingError(f"{file}: is a folder; expected a file")
        self._look()

    @abstractmethod
    def write(self, rows: Iterable[Row], file: Path) -> None:
        """All rows, in the format of the suffix, where that is not the one in which they are kept."""

    def rows(self) -> Iterator[Row]:
        """The rows that are there, from the first one on."""
        assert self._stream is not None
        self._stream.seek(0)
        return read_lines(self._stream)

    def start(self, made_with: Mapping[str, Any]) -> C:
        """Get ready for more rows; returns a tally of those that are there.

        made_with: all that rows depend on, beside the list of videos; what is None counts as not given. Raises
        SettingError where the rows that are there are made with something else, naming it, where a line of them is
        damaged or of another video, and where another process writes to them.
        """
        listed = hashlib.sha256(b"\0".join(map(os.fsencode, self.names))).hexdigest()[:16]
        self._made_with = {name: value for name, value in made_with.items() if value is not None}
        self._made_with |= {"videos": len(self.names), "list": listed}
        self._look()
        if not self.complete:
            self._stream = self.part.open("a+b")
            _lock(self._stream, self.part)
            self._look()  # before this process had the lock, another may have begun a job, or ended it
        if self.complete:
            tally = self._compare()
            self.close()
            self.part.unlink(missing_ok=True)
            return tally
        if self._rows_are_there():
            self._compare()
        else:
            self._describe(self.counts())
        assert self._stream is not None
        tally = self.counts()
        self._stream.truncate(self._read(self._stream, tally))
        flush(self.part.parent)
        return tally

    def add(self, row: Row) -> None:
        """The next row."""
        assert self._stream is not None
        self._stream.write(as_line(row))
        self._stream.flush()
        if time.monotonic() - self._saved > SECONDS:
            os.fsync(self._stream.fileno())
            self._saved = time.monotonic()

    def end(self, tally: C) -> None:
        """All rows are there: make the file. tally: of them all."""
        assert self._stream is not None
        # Closing any other stream of this file would release its lock.
        self._stream.flush()  # what a full disk did not take of the last row
        os.fsync(self._stream.fileno())
        self._describe(tally)
        if self.file.suffix == ".jsonl":
            self.part.replace(self.file)
            flush(self.file.parent)
        else:
            with replacing(self.file) as temporary:
                self.write(self.rows(), temporary)
            self.part.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Stop writing; the rows that are there stay."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def begun(self) -> bool:
        return self.complete or self._rows_are_there()

    def _rows_are_there(self) -> bool:
        try:
            return self.part.stat().st_size > 0
        except FileNotFoundError:
            return False

    def _look(self) -> None:
        """See what is there, and refuse it where it cannot be resumed."""
        self.complete = self.file.exists()
        if self.complete and not self.resume:
            raise SettingError(f"{self.file}: exists; name another file, or delete it")
        if self._rows_are_there() and not self.resume:
            raise SettingError(
                f"{self.part}: has rows of a job that was stopped; resume it (--resume, resume=True), or delete it"
            )
        if self.begun and not self.about.exists():
            raise SettingError(
                f"{self.about}: no such file, so what the rows are made with is unknown; delete them, or name another "
                "file"
            )

    def _describe(self, tally: C) -> None:
        with replacing(self.about) as temporary:
            temporary.write_text(as_json({**self._made_with, "counts": asdict(tally)}, indent=2) + "\n", "utf-8")

    def _compare(self) -> C:
        """What the rows that are there are made with is what more would be made with; returns the counts."""
        try:
            before = json.loads(self.about.read_text("utf-8"))
            counts = self.counts(**before.pop("counts"))
            names = list(self._made_with | before)
            differ = [name for name in names if before.get(name) != self._made_with.get(name)]
        except (ValueError, TypeError, KeyError, AttributeError):
            raise SettingError(f"{self.about}: not what this package writes; delete it with its rows") from None
        if differ:
            changes = "; ".join(f"{name} {before.get(name)}, not {self._made_with.get(name)}" for name in differ)
            raise SettingError(
                f"{self.about}: the rows that are there are made with {changes}; resume with the same, or name another "
                "file"
            )
        return counts

    def _read(self, stream: BinaryIO, tally: C) -> int:
        """Count the rows that are there; returns how many bytes they are, without a last line that is not whole."""
        size, whole = os.fstat(stream.fileno()).st_size, 0
        stream.seek(0)
        for number, line in enumerate(stream):
            row = _row_of(line)
            if row is None and whole + len(line) == size:
                break
            allowed = tally.expected(self.names)
            if row is None or row.get("video") not in allowed:
                found = "damaged" if row is None else f"a row of {row.get('video')}"
                expected = f"a row of {' or '.join(allowed)}" if allowed else "no more rows"
                raise SettingError(
                    f"{self.part}, line {number + 1}: {found}; expected {expected}; delete this line and all below it "
                    "to read their videos again"
                )
            tally.add(row)
            whole += len(line)
        return whole


def _row_of(line: bytes) -> Row | None:
    """The row of a line, None where the line is not whole."""
    try:
        row: Any = json.loads(line)
    except ValueError:
        return None
    return row if line.endswith(b"\n") and isinstance(row, dict) else None


def _lock(stream: BinaryIO, path: Path) -> None:
    """For as long as this process lives, or the stream is open: its children do not have the lock."""
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise SettingError(f"{path}: another process is writing to it") from None
