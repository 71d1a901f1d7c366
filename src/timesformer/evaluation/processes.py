"""Processes that share an evaluation: those that torchrun starts, which this only reads from the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from timesformer.data.loader import ALONE, Process

TORCHRUN = ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK")
# The processes meet once, in `gather` at the end; where one dies torchrun ends the others.
SLOWEST = timedelta(days=7)


def find_process() -> Process:
    """This process among those of torchrun; alone where there are none."""
    if not all(name in os.environ for name in TORCHRUN):
        return ALONE
    return Process(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


@contextmanager
def joined(process: Process) -> Iterator[None]:
    """Join the processes for what `gather` sends; of the GPUs of a machine each takes its own. Nothing where there is
    one process, or they are joined already."""
    if process.world == 1 or dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("gloo", timeout=SLOWEST)
    try:
        yield
    finally:
        dist.destroy_process_group()


def gather(value: Any, process: Process) -> list[Any]:
    """The value of every process, in their order, in all of them."""
    if process.world == 1:
        return [value]
    values: list[Any] = [None] * process.world
    dist.all_gather_object(values, value)
    return values
