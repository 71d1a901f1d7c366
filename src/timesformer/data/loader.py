"""Batches from worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sized
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, SequentialSampler

from timesformer.config import Data
from timesformer.data.dataset import Sample, TestingViews, TrainingClips, collate


class ShuffledEpochs(Sampler[tuple[int, int]]):
    """All rows in an order that the seed and the epoch decide, as (epoch, row)."""

    def __init__(self, rows: Sized, seed: int) -> None:
        self.rows, self.seed, self.epoch = len(rows), seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order: list[int] = torch.randperm(self.rows, generator=generator).tolist()
        return iter([(self.epoch, row) for row in order])


def training_loader(clips: TrainingClips, batch_size: int, data: Data) -> DataLoader[Sample]:
    """Shuffled batches; a last batch that is not full is left out, unless it is the only one."""
    return _loader(clips, batch_size, ShuffledEpochs(clips, clips.seed), data, drop_last=len(clips) >= batch_size)


def testing_loader(views: TestingViews, batch_size: int, data: Data) -> DataLoader[Sample]:
    """All videos once, in the manifest's order, `batch_size` videos at a time."""
    return _loader(views, batch_size, SequentialSampler(views), data, drop_last=False)


def _loader(
    dataset: TrainingClips | TestingViews, batch_size: int, sampler: Sampler[Any], data: Data, *, drop_last: bool
) -> DataLoader[Sample]:
    workers = min(_cores(), 8) if data.workers is None else data.workers
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        drop_last=drop_last,
        num_workers=workers,
        collate_fn=collate,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker,
    )


def _cores() -> int:
    """Cores that this process may use: fewer than there are in a job of a cluster."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _start_worker(number: int) -> None:
    """A worker decodes in one thread. What it draws at random has a seed a clip, so it needs none itself."""
    torch.set_num_threads(1)
