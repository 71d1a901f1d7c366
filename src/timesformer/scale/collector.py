"""Results on their way to files: pieces come in any order, some twice, and become the rows of a part when all of its
videos have come to their end."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timesformer.errors import VideoError
from timesformer.scale.decoder import End
from timesformer.scale.parts import Counts, Parts, Todo
from timesformer.scale.work import About, Result, Work


@dataclass
class Summary:
    """What a job has done and what it took.

    total: of all rows in the folder. videos: of the list, or shard. earlier: those that had rows before. now: those
    that this run has done, and unreadable: how many of them cannot be read. doubled: names that the list has once more.
    seconds: from the first video on; decoding: of processors; model: of models; read: bytes of videos; written: of
    rows; lost: decoder processes.
    """

    total: Counts = field(default_factory=Counts)
    videos: int = 0
    earlier: int = 0
    now: int = 0
    unreadable: int = 0
    doubled: int = 0
    seconds: float = 0.0
    decoding: float = 0.0
    model: float = 0.0
    read: int = 0
    written: int = 0
    lost: int = 0


class Collector:
    """Results on their way to files: those of parts that are not complete."""

    def __init__(
        self,
        work: Work,
        about: About,
        folder: Parts,
        names: Sequence[str],
        cells: Sequence[dict[str, str]],
        columns: Sequence[str],
        todo: list[Todo],
        summary: Summary,
    ) -> None:
        self._work, self._about, self._folder, self._summary = work, about, folder, summary
        self._names, self._cells, self._columns = names, cells, columns
        self._todo = {one.part: one.videos for one in todo}
        self._results: dict[int, dict[int, Result]] = {}  # of videos that have not come to their end
        self._ends: dict[int, dict[int, End]] = {}  # by the number of pieces before them: tries may differ
        self._rows: dict[int, dict[int, list[dict[str, Any]]]] = {}

    @property
    def left(self) -> int:
        """Videos whose rows are in no file yet."""
        return sum(map(len, self._todo.values()))

    def add(self, block: Any) -> list[VideoError]:
        """Rows of a block that came from an actor; returns what videos of it cannot be read."""
        problems = []
        self._summary.model += sum(block["seconds"].to_pylist())
        columns = [block[name].to_pylist() for name in ("part", "video", "number", "end", "found")]
        for part, video, number, end, found in zip(*columns, strict=True):
            if part not in self._todo or video in self._rows.get(part, ()):
                continue  # it has come before
            results = self._results.setdefault(video, {})
            ends = self._ends.setdefault(video, {})
            (ends if end else results).setdefault(number, pickle.loads(found))
            last = next((one for one in ends if len(results) >= one and all(n in results for n in range(one))), None)
            if last is not None:
                del self._ends[video], self._results[video]
                problem = self._end(part, video, [results[one] for one in range(last)], ends[last])
                problems += [problem] if problem else []
        return problems

    def _end(self, part: int, video: int, results: list[Result], end: End) -> VideoError | None:
        name, summary = self._names[video], self._summary
        rows = self._work.rows(self._about, name, self._cells[video], results, end.problem)
        self._rows.setdefault(part, {})[video] = rows
        summary.now += 1
        summary.decoding += end.cpu
        summary.read += end.bytes
        summary.lost += end.lost
        reason = next((row["problem"] for row in rows if "problem" in row), None)
        summary.unreadable += reason is not None
        if len(self._rows[part]) == len(self._todo[part]):
            self._write(part)
        return None if reason is None else VideoError(name, reason)

    def _write(self, part: int) -> None:
        videos, found = self._todo.pop(part), self._rows.pop(part)
        rows = [row for video in videos for row in found[video]]
        counts = Counts(1, len(videos), len(rows), sum("problem" in row for row in rows))

        def write(file: Path) -> None:
            self._work.write(self._about, self._columns, rows, file)

        self._summary.written += self._folder.add(part, [self._names[video] for video in videos], counts, write)
