"""Batches from worker processes: which row comes when, and in which process.

A training step of `world` processes takes neighbours of one shuffled order, so that the same seed trains on the same
clips in the same steps however many processes share them. No row of an epoch is left over: where rows do not fill all
steps, these have a row more or less than each other. Seven rows in steps of at most four:

    order of the epoch  | 5 2 0 | 3 6 1 4 |
    step                |   0   |    1    |
    of 2 processes      | 0  1 1|0 0  1 1 |
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import Sampler

from timesformer.config import Data
from timesformer.data.dataset import Batch, Sample, TestingViews, TrainingClips, UnlabelledViews, collate
from timesformer.data.decoding import Key, Videos
from timesformer.data.workers import Workers
from timesformer.device import cores
from timesformer.errors import SettingError


class Process(NamedTuple):
    """This process among those that share a run: its number, and how many there are."""

    rank: int = 0
    world: int = 1


ALONE = Process()


class ShuffledEpochs(Sampler[list[Any]]):
    """This process's batches of rows, in an order that seed and epoch decide, as (epoch, row, times it came before).

    Every row comes in some batch. Batches are as many as rows of at most `videos` a process and step need, and as
    equal as that number allows, so a process has none of a step where there are fewer rows than processes in it.

    Args:
        rows: rows of the data set.
        videos: rows of a batch of one process, at most.
        weights: one a row, to draw rows by them, with replacement; without, each row comes once.

    Attributes: `batches`, of an epoch; `videos`, rows of the largest one of any process; `fewest`, of the smallest.
    """

    def __init__(
        self, rows: int, seed: int, videos: int, process: Process = ALONE, weights: Sequence[float] | None = None
    ) -> None:
        if rows < process.world:
            raise SettingError(f"{rows} videos to train on are too few for {process.world} processes")
        self.rows, self.seed, self.process, self.weights = rows, seed, process, weights
        self.batches = -(-rows // (videos * process.world))
        self.videos = -(-rows // (self.batches * process.world))
        self.fewest = rows // self.batches // process.world
        self.epoch = self.first_batch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before an epoch."""
        if epoch != self.epoch:
            self.go_to(epoch, 0)

    def go_to(self, epoch: int, batch: int) -> None:
        """Start with a batch inside an epoch, as a resumed run does; later epochs are whole."""
        self.epoch, self.first_batch = epoch, batch

    def step(self, batch: int) -> range:
        """Which rows of an epoch's order the batches of that number have in all processes together."""
        return range(batch * self.rows // self.batches, (batch + 1) * self.rows // self.batches)

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
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
            step = self.step(batch)
            part = step[rank * len(step) // world : (rank + 1) * len(step) // world]
            yield [keys[place] for place in part]


class EveryRow(Sampler[list[int]]):
    """This process's part of all rows, in order, `videos` a batch; the last one may have fewer. The parts are equally
    long, so a few rows come twice at the end."""

    def __init__(self, rows: int, videos: int, process: Process = ALONE) -> None:
        self.length, self.videos = -(-rows // process.world), videos
        self.rows, self.process = rows, process

    def __len__(self) -> int:
        return -(-self.length // self.videos)

    def __iter__(self) -> Iterator[list[int]]:
        rank, world = self.process
        rows = iter([(index * world + rank) % self.rows for index in range(self.length)])
        return iter(lambda: list(itertools.islice(rows, self.videos)), [])


class Loader:
    """The batches that a sampler gives the rows of, in its order; any number of times.

    Args:
        num_workers: processes that decode, which stay until `close`; 0 to decode in this one.
        on_loss: as for `Workers`.

    Raises WorkerError, while it is iterated, as `Workers.batches` does.
    """

    def __init__(
        self,
        videos: Videos,
        sampler: Sampler[list[Any]],
        num_workers: int,
        on_loss: Callable[[Key, str], Sample] | None = None,
    ) -> None:
        self.videos, self.sampler, self.num_workers = videos, sampler, num_workers
        self.workers = Workers(videos, num_workers, on_loss)
        self.batch_sampler = None  # Lightning asks for it

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        return self.workers.batches(self.sampler) if self.num_workers else map(self._read, self.sampler)

    def _read(self, keys: list[Any]) -> Batch:
        batch = collate([self.videos[key] for key in keys])
        if torch.cuda.is_available():
            return batch._replace(views_VCTSS=batch.views_VCTSS.pin_memory())
        return batch

    def close(self) -> None:
        """End the processes."""
        self.workers.close()


def training_loader(
    clips: TrainingClips,
    batch_size: int,
    data: Data,
    process: Process = ALONE,
    weights: Sequence[float] | None = None,
) -> Loader:
    """Shuffled batches of at most `batch_size` clips for one process."""
    videos = batch_size // clips.augmentation.repeats
    sampler = ShuffledEpochs(len(clips), clips.seed, videos, process, weights)
    return Loader(clips, sampler, _workers(data))


def testing_loader(
    views: TestingViews | UnlabelledViews, batch_size: int, data: Data, process: Process = ALONE
) -> Loader:
    """All videos in their order, `batch_size` videos at a time; or this process's part of them.

    An unlabelled video that, in a batch of its own, kills or hangs the process that decodes it is one that cannot be
    read. Of other data a single video is read in this process.
    """
    if isinstance(views, UnlabelledViews):
        workers, on_loss = _workers(data), views.unreadable
    else:
        workers, on_loss = _workers(data) if len(views) > 1 else 0, None
    return Loader(views, EveryRow(len(views), batch_size, process), workers, on_loss)


def _workers(data: Data) -> int:
    """Processes that decode videos; none in a daemonic process, which may not start any."""
    if multiprocessing.current_process().daemon:
        return 0
    return min(_cores_of_process(), 8) if data.workers is None else data.workers


def testing_workers(workers: int | None, videos: int) -> int:
    """Processes that decode where nothing trains beside them: one a core if not given, and no more than videos."""
    return min(_cores_of_process() if workers is None else workers, videos)


def _cores_of_process() -> int:
    """Cores of this process, where torchrun may have started several on this machine."""
    return max(cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 1)
