"""How many threads compute, and how they wait.

torch's threads wait for their next work by spinning (libgomp: 300,000 turns, about a millisecond). Beside another
program that computes, each of them then holds a core that the others need, and both programs take several times as long
as sharing the cores would. So in commands they spin for less (docs/performance.md, Busy machines); programs that import
the package choose for themselves.
"""

from __future__ import annotations

import os

SPINS = 8000


def wait_briefly() -> None:
    """Let the threads of this process and its children spin for SPINS turns, unless the user has set how they wait.

    torch reads that when it is loaded, so it has no effect on a process that has torch already.
    """
    if not os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)


def use_threads(threads: int | None) -> None:
    """Compute with this many threads; None leaves torch's choice, the number of cores or OMP_NUM_THREADS."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
