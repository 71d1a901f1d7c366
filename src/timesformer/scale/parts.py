"""A folder of rows in parts, each of them one Parquet file that is whole or not there.

    OUT/_run.json                 what the rows are made with, and into how many parts names go; written first
    OUT/part=17/DIGEST.parquet    rows of videos whose SHA-256 puts them into part 17; DIGEST: of their names
    OUT/_done.jsonl               a line a file: its videos, rows, unreadable videos and bytes

Which part a name is in depends on the name and the number of parts alone, so that runs over lists that overlap agree,
and a longer list adds files to its parts. What is done is what the folder lists: _done.jsonl saves later runs and
readers the look into every file, and is made again where it lacks some. Readers of folders in parts, such as
pyarrow.dataset, pass over names that begin with an underscore.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from timesformer.errors import SettingError, one_line
from timesformer.files import as_json, escape, replacing, writing
from timesformer.inference.sources import shard_of
from timesformer.scale.stores import Location, StoreError, check_buckets, locate, waiting

RUN, DONE, LOCK = "_run.json", "_done.jsonl", ".lock"
VIDEOS = 128  # of a part of a new folder, at least half of it, up to MOST parts
MOST = 1 << 16


class Todo(NamedTuple):
    """The videos of a part that have no row yet, by their numbers in the list."""

    part: int
    videos: list[int]


@dataclass
class Counts:
    """What files hold."""

    files: int = 0
    videos: int = 0
    rows: int = 0
    unreadable: int = 0
    bytes: int = 0

    def add(self, other: Counts) -> None:
        """Count them together."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)


class Parts:
    """The folder of a run: a path, or the URL of a folder in an object store.

    Attributes: `count`, the number of parts; `done`, what each file holds, by its name below the folder.

    Raises SettingError for a folder that holds something else or cannot be written, and for a bucket that does not
    exist; StoreError where the store does not answer.
    """

    def __init__(self, out: str) -> None:
        self.location: Location = locate(out)
        self.count = 0
        self.done: dict[str, Counts] = {}
        check_buckets([out])
        if self.location.local and Path(out).exists() and not Path(out).is_dir():
            raise SettingError(f"{out}: is a file; expected a folder")
        self._files = self._list()
        self._before = self._read_run() if RUN in self._files else None
        if self._files and self._before is None:
            raise SettingError(f"{out}: has files, but no {RUN}, so it is no folder of such a run; name another folder")

    def begin(self, made_with: Mapping[str, Any], videos: int, parts: int | None = None) -> None:
        """Say what rows are made with; or compare it with what is said of those that are there.

        videos: of the whole list, which decides the number of parts of a new folder where `parts` does not. What is
        written is read again, since another driver may have begun at the same time. Raises SettingError where rows that
        are there are made with something else.
        """
        made = {name: value for name, value in made_with.items() if value is not None}
        if self._before is None:
            self._write(RUN, (as_json({**made, "parts": parts or parts_for(videos)}, indent=2) + "\n").encode())
            self._before = self._read_run()
        before = dict(self._before)
        self.count = before.pop("parts")
        names = [name for name in made | before if made.get(name) != before.get(name)]
        if names:
            changes = "; ".join(f"{name} {before.get(name)}, not {made.get(name)}" for name in names)
            raise SettingError(
                f"{self.location.join(RUN).name}: the rows that are there are made with {changes}; "
                "use the same, or name another folder"
            )
        if parts not in (None, self.count):
            raise SettingError(f"parts is {parts}; the rows that are there are in {self.count}")

    @contextmanager
    def locked(self, *, shared: bool) -> Iterator[None]:
        """No other driver works on a folder of this machine meanwhile, but for those of other shards where all are
        shared: runs whose lists overlap would both write rows of the same videos. An object store has no locks.

        Raises SettingError where one does. The system lets go of the lock of a process that has died.
        """
        if not self.location.local:
            yield
            return
        path = Path(self.location.path) / LOCK
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                with writing(path):
                    fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except SettingError as error:
                if not isinstance(error.__context__, BlockingIOError):
                    raise
                raise SettingError(
                    f"{self.location.name}: another process writes to it; wait for it, or start both with --shard"
                ) from None
            self._files = self._list()  # another may have begun and ended
            self._before = self._read_run() if RUN in self._files else None
            yield
        finally:
            os.close(descriptor)

    def todo(self, names: Sequence[str]) -> list[Todo]:
        """The videos that have no row yet, part by part. `names`: of all videos of the list, each once.

        Raises SettingError for a file that is not whole, which no run of this package leaves behind.
        """
        self._read_done()
        wanted: dict[int, list[int]] = defaultdict(list)
        for number, name in enumerate(names):
            wanted[shard_of(name, self.count)].append(number)
        there: dict[int, list[str]] = defaultdict(list)
        for file in self.done:
            there[int(file.partition("/")[0].removeprefix("part="))].append(file)
        found = []
        for part, videos in sorted(wanted.items()):
            if file_of(part, (names[video] for video in videos)) in self.done:
                continue
            known = {name for file in there[part] for name in self._column(file, "video")}
            if left := [video for video in videos if escape(names[video]) not in known]:
                found.append(Todo(part, left))
        return found

    def add(self, part: int, names: Sequence[str], counts: Counts, write: Callable[[Path], None]) -> int:
        """The rows of some videos of a part, which `write` writes to the file that it is given; returns their bytes."""
        file = file_of(part, names)
        if self.location.local:
            path = Path(self.location.path) / file
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as temporary:
                    write(temporary)
            size = path.stat().st_size
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "rows.parquet"
                write(path)
                content = path.read_bytes()
            self._write(file, content)
            size = len(content)
        self.done[file] = Counts(1, counts.videos, counts.rows, counts.unreadable, size)
        return size

    def end(self) -> Counts:
        """Write down what is done; returns the counts of all files."""
        lines = [as_json({"file": file, **asdict(counts)}) + "\n" for file, counts in sorted(self.done.items())]
        self._write(DONE, "".join(lines).encode())
        total = Counts()
        for counts in self.done.values():
            total.add(counts)
        return total

    def _list(self) -> set[str]:
        from pyarrow.fs import FileSelector, FileType

        location = self.location
        selector = FileSelector(location.path, recursive=True, allow_not_found=True)
        infos = waiting(lambda: location.filesystem.get_file_info(selector), location.name)
        start = len(location.path.rstrip("/")) + 1
        files = (info.path[start:] for info in infos if info.type == FileType.File)
        # Names with a dot are of writes that were killed, of the lock and of the system.
        return {file for file in files if not file.rpartition("/")[2].startswith(".")}

    def _read_run(self) -> dict[str, Any]:
        """What is said of the rows that are there."""
        with suppress(ValueError):
            found = json.loads(self._read(RUN))
            if isinstance(found, dict) and isinstance(found.get("parts"), int) and found["parts"] >= 1:
                return found
        raise SettingError(
            f"{self.location.join(RUN).name}: is damaged; restore it from a run with the same options, or name another "
            "folder"
        )

    def _read_done(self) -> None:
        """What each file that is there holds: as it is written down, or else as the file says."""
        known: dict[str, Counts] = {}
        if DONE in self._files:
            for line in self._read(DONE).splitlines():
                with suppress(ValueError, TypeError, KeyError, AttributeError):  # damaged: the file itself is asked
                    entry = json.loads(line)
                    file, counts = entry.pop("file"), Counts(**entry)
                    if all(isinstance(value, int) for value in asdict(counts).values()):
                        known[file] = counts
        files = [file for file in self._files if file.startswith("part=") and file.endswith(".parquet")]
        self.done = {file: known.get(file) or self._look(file) for file in files}

    def _look(self, file: str) -> Counts:
        problems = self._column(file, "problem")
        videos = len(set(self._column(file, "video")))
        size = waiting(lambda: self.location.filesystem.get_file_info(self.location.join(file).path), file).size
        return Counts(1, videos, len(problems), sum(one is not None for one in problems), size)

    def _column(self, file: str, name: str) -> list[Any]:
        import pyarrow
        import pyarrow.parquet

        location = self.location.join(file)
        try:
            with waiting(lambda: location.filesystem.open_input_file(location.path), location.name) as source:
                table = pyarrow.parquet.ParquetFile(source).read([name])
        except (pyarrow.ArrowInvalid, KeyError) as error:
            raise SettingError(
                f"{location.name}: not a file of rows ({one_line(error)[:100]}); delete it to compute them again"
            ) from None
        values: list[Any] = table.column(name).to_pylist()
        return values

    def _read(self, file: str) -> bytes:
        location = self.location.join(file)

        def read() -> bytes:
            with location.filesystem.open_input_stream(location.path) as source:
                content: bytes = source.read()
                return content

        return waiting(read, location.name)

    def _write(self, file: str, content: bytes) -> None:
        location = self.location.join(file)
        if location.local:
            path = Path(location.path)
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                with replacing(path) as temporary:
                    temporary.write_bytes(content)
            return

        def write() -> None:  # an object is there when all of it is
            with location.filesystem.open_output_stream(location.path) as target:
                target.write(content)

        try:
            waiting(write, location.name)
        except OSError as error:
            raise StoreError(f"{location.name}: cannot be written: {one_line(error)[:200]}") from None


def parts_for(videos: int) -> int:
    """How many parts a new folder gets: a power of two, so that the parts of a longer list lie inside them."""
    return min(MOST, 1 << max(0, (videos - 1) // VIDEOS).bit_length())


def file_of(part: int, names: Iterable[str]) -> str:
    """The file of some videos of a part, below the folder."""
    digest = hashlib.sha256(b"\0".join(map(os.fsencode, names))).hexdigest()[:16]
    return f"part={part}/{digest}.parquet"
