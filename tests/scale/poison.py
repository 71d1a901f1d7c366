"""A prediction some of whose videos do to their decoder what no file of the tests can be relied on to do."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from timesformer.scale.work import About, Piece, Prediction


@dataclass(frozen=True)
class Poisoned(Prediction):
    """What the name of a video says happens when it is read: crash, hang, memory, error; slow: it takes a second; once:
    a crash, the first time only. Every try leaves a line in the file `tried` beside it."""

    def read(self, about: About, source: Any, cells: dict[str, str]) -> Iterator[Piece]:
        name = Path(source).stem
        with (Path(source).parent / "tried").open("a") as stream:
            stream.write(f"{name}\n")
        if name == "crash" or (name == "once" and tries(Path(source)) == 1):
            os.kill(os.getpid(), signal.SIGSEGV)
        elif name == "hang":
            while True:
                time.sleep(1)
        elif name == "slow":
            time.sleep(1)
        elif name == "memory":
            torch.ones(10**9, dtype=torch.uint8)
        elif name == "error":
            raise KeyError("what nobody thought of")
        yield from super().read(about, source, cells)


def tries(video: Path) -> int:
    """How often it has been read."""
    return (video.parent / "tried").read_text().splitlines().count(video.stem)
