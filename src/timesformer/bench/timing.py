"""Seconds and bytes: how they are taken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

Clock = Callable[[], float]


class Spread(NamedTuple):
    """Median, smallest and largest of some measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value at least."""
        return cls(statistics.median(values), min(values), max(values))


def timed(run: Callable[[], object], device: torch.device, clock: Clock = time.perf_counter) -> float:
    """Seconds that `run` takes, with all that it left to do on a GPU."""
    synchronise(device)
    began = clock()
    run()
    synchronise(device)
    return clock() - began


def synchronise(device: torch.device) -> None:
    """Wait for a GPU; a CPU is never behind."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def forget_peak(device: torch.device) -> bool:
    """Reset the peak of memory; whether that is possible here (it is on a GPU and on Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
