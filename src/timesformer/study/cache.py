"""Trainings that studies share, each in a folder that a hash of its recipe, data and weights names.

RUNS/HASH/cell.json            what it is of
RUNS/HASH/run/                 the run as `timesformer train` makes it, without its checkpoints once it has ended
RUNS/HASH/done.json            what is known of the training when it has ended
RUNS/HASH/test.parquet         the scores of the test videos, by the weights' own test protocol
RUNS/HASH/test,PROTOCOL.parquet   the same by another one, such as test,clips=3.parquet
RUNS/HASH/failed.json          why the last attempt has failed
RUNS/HASH/lock                 held by the process that works in the folder
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from timesformer.config import Recipe
from timesformer.errors import SettingError, TimesformerError, one_line
from timesformer.files import as_json, replacing
from timesformer.settings import flat
from timesformer.study.key import WITHOUT_EFFECT

FACTS, DONE, FAILED, LOCK = "cell.json", "done.json", "failed.json", "lock"


class BusyError(TimesformerError):
    """Another process works on a training."""


@dataclass(frozen=True)
class CachedRun:
    """One training in the cache. extra: what beside recipe, data and weights decides what it ends with."""

    folder: Path
    recipe: Recipe
    data: str
    init: str | None
    extra: Mapping[str, Any]

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.folder / "run"

    def scores(self, protocol: Mapping[str, Any]) -> Path:
        """The scores of a test."""
        name = ",".join(f"{key}={value}" for key, value in sorted(protocol.items()))
        return self.folder / f"{f'test,{name}' if name else 'test'}.parquet"

    @property
    def done(self) -> dict[str, Any] | None:
        """What is known of the training when it has ended; None before."""
        return _read(self.folder / DONE)

    @property
    def failure(self) -> str | None:
        """Why the last attempt has failed, if it has."""
        found = _read(self.folder / FAILED)
        return None if found is None else str(found["reason"])

    @property
    def failed_at(self) -> int | None:
        """When the last attempt has failed, in nanoseconds of the disk's clock, if it has."""
        try:
            return (self.folder / FAILED).stat().st_mtime_ns
        except FileNotFoundError:
            return None

    def is_done(self, protocols: list[Mapping[str, Any]]) -> bool:
        """Whether it has been trained and tested with all these protocols."""
        return self.done is not None and all(self.scores(protocol).exists() for protocol in protocols)

    @property
    def is_busy(self) -> bool:
        """Whether another process works on it."""
        if not self.folder.exists():
            return False
        try:
            with self.locked(0.2):  # another look at it takes less
                return False
        except BusyError:
            return True

    @contextmanager
    def locked(self, wait: float = 0.0) -> Iterator[None]:
        """No other process works on it meanwhile. Raises BusyError where one still does after `wait` seconds. The
        system lets go of the lock of a process that has died."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / LOCK, timeout=wait):
                yield
        except Timeout:
            raise BusyError(f"{self.folder}: another process works on it") from None

    def check(self) -> None:
        """Raises SettingError where what is kept is of other settings under the same hash: of a version of this package
        with other defaults."""
        kept = _read(self.folder / FACTS)
        if kept is None:
            return
        before, now = flat(kept["recipe"]), flat(self.recipe.model_dump(mode="json"))
        both = before.keys() & now.keys() - set(WITHOUT_EFFECT)
        if changed := sorted(name for name in both if before[name] != now[name]):
            raise SettingError(
                f"{self.folder}: trained with another default of {', '.join(changed[:3])}, by another version of this "
                "package; move it away"
            )

    def write_facts(self) -> None:
        """Write what it is of."""
        facts = {"recipe": self.recipe.model_dump(mode="json"), "data": self.data, "init": self.init}
        _write(self.folder / FACTS, facts | {"extra": dict(self.extra)})

    def write_done(self, facts: Mapping[str, Any]) -> None:
        """Write what is known of the training."""
        _write(self.folder / DONE, facts)

    def write_failure(self, reason: str) -> None:
        """Write why an attempt has failed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / FAILED, {"reason": reason})

    def forget_failure(self) -> None:
        """Before the next attempt."""
        (self.folder / FAILED).unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any] | None:
    """What a file of this cache holds; None where there is none. Raises SettingError for a damaged one."""
    if not file.exists():
        return None
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SettingError(f"{file}: damaged, remove it: {one_line(error)[:100]}") from None


def _write(file: Path, values: Mapping[str, Any]) -> None:
    with replacing(file) as temporary:
        temporary.write_text(as_json(dict(values), indent=2) + "\n", encoding="utf-8")
