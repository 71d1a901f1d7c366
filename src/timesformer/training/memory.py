"""Memory that a training step frees stays with the process for the next step."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Make glibc keep freed memory: the system, if it got it back, would zero every page before its next use.

    Without it a training step of the base model on two cores spends a fifth of its time there
    (benchmarks/training_step.py). Does nothing where malloc is not glibc's.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
