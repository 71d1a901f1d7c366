"""A process of its own for what may crash or take too much memory: its limit, that it goes first, how long it was kept
from a processor, how it ended."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path


def limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has. Private memory alone counts: libraries and files that are
    mapped do not. Where the system does not say what there is (all but Linux), it may take so many bytes in all."""
    import resource

    size = private_bytes() + more
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def go_first() -> None:
    """Where the whole machine runs out of memory, let this process be the one that the system ends (Linux)."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def seconds_queued(process: int) -> float:
    """Seconds that the main thread of a process could have run in, but others had the processors. 0 where the system
    does not say (all but Linux), and of a process that has ended."""
    try:
        return queued_in(Path(f"/proc/{process}/schedstat").read_text())
    except (OSError, IndexError, ValueError):
        return 0.0


def queued_in(schedstat: str) -> float:
    """The same of such a file's line: ns with a processor, ns without one, times that it got one."""
    return int(schedstat.split()[1]) / 1e9


def describe_exit(code: int | None) -> str:
    """How a process ended, by its exit code: the name of a signal, or the code."""
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def private_bytes() -> int:
    """The memory of this process that `limit_memory` counts; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmData:")).split()[1]) * 1024
