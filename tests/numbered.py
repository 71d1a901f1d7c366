"""Videos that are their number, for processes that decode them."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from timesformer.data.dataset import Batch, Sample, collate
from timesformer.errors import VideoError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux says whether a process runs")


class Videos:
    """Video 3, say, is a view of threes; what else happens when it is read is for `on_read`."""

    def __init__(self, on_read: Any = lambda key: None) -> None:
        self.on_read = on_read

    def __getitem__(self, key: int) -> Sample:
        self.on_read(key)
        if key < 0:
            return Sample(None, 0, key, VideoError(self.name(key), "is below zero"))
        return Sample(torch.full((1, 3, 2, 4, 4), key, dtype=torch.uint8), [0.5, key], key)  # type: ignore[list-item]

    def batch(self, keys: list[int]) -> Batch:
        return collate([self[key] for key in keys])

    def name(self, key: int) -> str:
        return f"video {key}"


def rows(made: Any) -> list[list[int]]:
    return [batch.rows_B.tolist() for batch in made]


def lock_up(key: int) -> None:
    """A deadlock in C at video 5, which no signal interrupts."""
    if key == 5:
        mutex, library = ctypes.create_string_buffer(64), ctypes.PyDLL(None)
        while True:
            library.pthread_mutex_lock(mutex)


def alive(pid: int) -> bool:
    """Not as what has ended and is not asked how by its new parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def marked_processes_alone_idle(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Those whose number is a file in this folder have had no processor time; on a busy machine others too may have to
    wait for a second."""
    patch.setattr(
        "timesformer.data.worker._processor_time", lambda pid: 0 if (folder / str(pid)).exists() else object()
    )
