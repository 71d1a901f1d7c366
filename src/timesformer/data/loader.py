"""Batches from worker processes: which row comes when, and in which process.

A training step of `world` processes takes `world` x `videos` neighbours of one shuffled order, so that the same seed
trains on the same clips in the same steps however many processes share them:

    order of the epoch   | 5 2 | 7 0 | 3 6 | 1 4 |
    2 processes, 2 each  |  step 0   |  step 1   |
    process              |  0  |  1  |  0  |  1  |
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from timesformer.config import Data
from timesformer.data.dataset import Sample, TestingViews, TrainingClips, UnlabelledViews, collate
from timesformer.device import cores
from timesformer.errors import SettingError


class Process(NamedTuple):
    """This process among those that share a run: its number, and how many there are."""

    rank: int = 0
    world: int = 1


ALONE = Process()


class ShuffledEpochs(Sampler[tuple[int, int, int]]):
    """This process's rows in an order that the seed and the epoch decide, as (epoch, row, times the row came before).

    Every batch is full: the rows at the end of an epoch's order that fill no step of all processes are
    dropped. A data set smaller than one step is a single, smaller batch.

    Args:
        rows: rows of the data set.
        videos: rows of a batch of one process.
        weights: one a row, to draw rows by them, with replacement; without, each row comes once.
    """

    def __init__(
        self, rows: int, seed: int, videos: int, process: Process = ALONE, weights: Sequence[float] | None = None
    ) -> None:
        if rows < process.world:
            raise SettingError(f"{rows} videos to train on are too few for {process.world} processes")
        self.rows, self.seed, self.process, self.weights = rows, seed, process, weights
        self.videos = min(videos, rows // process.world)
        self.batches = rows // (self.videos * process.world)
        self.epoch = self.first_batch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before an epoch."""
        if epoch != self.epoch:
            self.go_to(epoch, 0)

    def go_to(self, epoch: int, batch: int) -> None:
        """Start with a batch inside an epoch, as a resumed run does; later epochs are whole."""
        self.epoch, self.first_batch = epoch, batch

    def __len__(self) -> int:
        return self.batches * self.videos

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        if self.weights is None:
            order = torch.randperm(self.rows, generator=generator)
        else:
            weights = torch.tensor(self.weights, dtype=torch.float64)
            order = torch.multinomial(weights, self.rows, replacement=True, generator=generator)
        before: Counter[int] = Counter()
        keys = []
        for row in order.tolist():
            keys.append((self.epoch, row, before[row]))
            before[row] += 1
        rank, world = self.process
        for batch in range(self.first_batch, self.batches):
            begin = (batch * world + rank) * self.videos
            yield from keys[begin : begin + self.videos]


class EveryRow(Sampler[int]):
    """This process's part of all rows, in order; the parts are equally long, so a few rows come twice at the end."""

    def __init__(self, rows: int, process: Process = ALONE) -> None:
        self.length = -(-rows // process.world)
        self.rows, self.process = rows, process

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        rank, world = self.process
        return iter([(index * world + rank) % self.rows for index in range(self.length)])


def training_loader(
    clips: TrainingClips,
    batch_size: int,
    data: Data,
    process: Process = ALONE,
    weights: Sequence[float] | None = None,
) -> DataLoader[Sample]:
    """Shuffled batches of `batch_size` clips for one process."""
    videos = batch_size // clips.augmentation.repeats
    sampler = ShuffledEpochs(len(clips), clips.seed, videos, process, weights)
    return _loader(clips, sampler.videos, sampler, _workers(data))


def testing_loader(
    views: TestingViews | UnlabelledViews, batch_size: int, data: Data, process: Process = ALONE
) -> DataLoader[Sample]:
    """All videos in their order, `batch_size` videos at a time; or this process's part of them.

    A single video is read in this process.
    """
    workers = _workers(data) if len(views) > 1 else 0
    return _loader(views, batch_size, EveryRow(len(views), process), workers)


def _loader(dataset: Dataset[Sample], batch_size: int, sampler: Sampler[Any], workers: int) -> DataLoader[Sample]:
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker,
    )


def _workers(data: Data) -> int:
    """Processes that decode videos; none in a daemonic process, which may not start any."""
    if multiprocessing.current_process().daemon:
        return 0
    shared = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # processes that torchrun started on this machine
    return min(max(cores() // shared, 1), 8) if data.workers is None else data.workers


def _start_worker(number: int) -> None:
    """A worker decodes in one thread, and gives way where training needs the same cores: on two cores an epoch of a
    tiny model took 12 s so, 16 s otherwise. What it draws at random has a seed a clip, so it needs none itself.
    Where a whole process group is told to stop, the process that trains ends its workers itself, with their batches."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    if hasattr(os, "nice"):
        os.nice(10)
