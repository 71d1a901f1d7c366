"""Weights that others may replace while they are read or used: of one save, and what was opened stays the source."""

from __future__ import annotations

import os
import stat
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from timesformer.errors import WeightsError

TRIES, WAIT_S = 20, 0.05
OPEN_FILES = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"  # names of the files that a process has open
T = TypeVar("T")


class OpenedTensors:
    """A safetensors file that stays the one that was opened, whatever takes its name. Calling it maps its tensors.

    Copied or pickled it is None: a copy of a model holds its tensors itself.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.descriptor = os.open(file, os.O_RDONLY)
        except FileNotFoundError:
            raise WeightsError(f"{file}: no such file") from None
        except OSError as error:
            raise _unreadable(file, error) from None
        weakref.finalize(self, os.close, self.descriptor)
        opened = os.fstat(self.descriptor)
        if not stat.S_ISREG(opened.st_mode):
            raise WeightsError(f"{file}: no such file")
        self.opened = _identity(opened)

    def __call__(self) -> dict[str, Tensor]:
        """Its tensors, mapped into memory. Raises WeightsError where it is damaged, or was written to since."""
        try:
            if _identity(os.fstat(self.descriptor)) != self.opened:
                raise WeightsError(f"{self.file}: was overwritten while it was in use; load it again")
            return load_file(f"{OPEN_FILES}/{self.descriptor}")
        except (SafetensorError, OSError) as error:
            raise _unreadable(self.file, error) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()


def read_settled(folder: Path, read: Callable[[], T]) -> T:
    """What `read` makes of a folder's files, all of one save: where something has changed meanwhile, it reads again.

    Raises what `read` raises, and WeightsError for a folder that keeps changing.
    """
    problem = WeightsError(f"{folder}: keeps changing while it is read; try again when it is complete")
    for _ in range(TRIES):
        before = _state(folder)
        try:
            found = read()
        except WeightsError as error:
            if before is None:  # between two saves, or removed
                problem = error
            elif _state(folder) == before:
                raise
        else:
            if _state(folder) == before:
                return found
        time.sleep(WAIT_S)
    raise problem


def _state(folder: Path) -> object:
    """What changes when a folder, or a file in it, is replaced or written to; None where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            files = sorted((entry.name, _identity(os.stat(entry.path))) for entry in entries if entry.is_file())
        return _identity(os.stat(folder)), files
    except OSError:
        return None


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _unreadable(file: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{file}: not a safetensors file that can be read: {error}")
