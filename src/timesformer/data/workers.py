"""Batches from processes that decode ahead of need.

A batch comes as bytes through a socket: /dev/shm, which has 64 MB in many a container, is not used. A process that does
nothing from its start on is replaced, since a fork can be stuck with a lock of another thread. One that dies, or that
does nothing for a minute, is an error that names the video it was reading; or, where the caller has a sample for such a
video, it is replaced. All end with the process that started them.
"""

from __future__ import annotations

import itertools
import queue
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.util import Finalize
from typing import NamedTuple, NoReturn

from timesformer.data.dataset import Batch, Sample, collate
from timesformer.data.decoding import Failure, Key, Videos
from timesformer.data.worker import Message, Trouble, Worker, end, signals_later
from timesformer.errors import WorkerError

AHEAD = 2  # batches that each process is asked for ahead of need
START = 20  # seconds that a new process may do nothing before it is replaced
TRIES = 3  # processes at most, one after the other, that do nothing
STUCK = 60  # seconds that a process may do nothing; reading a slow video takes time of the processor now and then
IN_A_ROW = 5  # videos lost one after the other: it is not the files then
LIFETIME = 10_000  # batches of a process; decoders leave some 3 kB a video in its heap, which would add up


class Lost(NamedTuple):
    """The sample of a video whose process died or hung."""

    sample: Sample


class Workers:
    """Processes that make batches of a data set; they start when first needed, and stay.

    on_loss: where a batch is a single video and its process dies or hangs, the sample of the video by its key and the
        reason; without, that raises WorkerError.
    """

    def __init__(self, videos: Videos, count: int, on_loss: Callable[[Key, str], Sample] | None = None) -> None:
        self.videos, self.count, self.on_loss = videos, count, on_loss
        self._workers: list[Worker] = []
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._iteration = 0
        Finalize(self, end, (self._workers,), exitpriority=10)  # at exit before multiprocessing waits for them

    def batches(self, keys: Iterable[list[Key]]) -> Iterator[Batch]:
        """The batches of lists of keys, in their order, whichever process is the first to be done.

        Raises WorkerError, after all processes have been ended, where one cannot be started, dies or hangs, with
        `on_loss` where that happens to several videos in a row; and what the data set raises. An older iterator must
        not be used any more.
        """
        self._iteration += 1
        iteration, todo = self._iteration, iter(keys)
        ready: dict[int, Batch | Lost] = {}
        asked: list[int] = []
        in_a_row = 0
        self._start()
        for _ in range(AHEAD * self.count):
            self._ask(todo, asked)
        while asked:
            assert iteration == self._iteration
            number = asked[0]
            while number not in ready:
                done, content = self._receive(number)
                if done not in asked:  # of an iteration that was given up
                    continue
                if isinstance(content, Failure):
                    raise content.error
                ready[done] = content
            del asked[0]
            batch = ready.pop(number)
            if isinstance(batch, Lost):
                in_a_row += 1
                if in_a_row == IN_A_ROW:
                    self._fail(
                        f"{batch.sample.problem}; {IN_A_ROW} videos in a row, so check the memory, disk and network of "
                        "this machine, or use fewer workers"
                    )
                batch = collate([batch.sample])
            else:
                in_a_row = 0
            self._ask(todo, asked)
            yield batch

    def close(self) -> None:
        """End the processes."""
        end(self._workers)

    def _start(self) -> None:
        if self._workers:
            return
        try:
            with signals_later():
                try:
                    for _ in range(self.count):
                        self._workers.append(Worker(self.videos))
                finally:  # threads begin after all processes have been forked
                    for worker in self._workers:
                        worker.listen(self._messages)
        except BaseException:
            self.close()
            raise

    def _ask(self, todo: Iterator[list[Key]], asked: list[int]) -> None:
        """Give the next batch to the process with the least to do."""
        keys = next(todo, None)
        if keys is not None:
            asked.append(next(self._numbers))
            min(self._workers, key=lambda worker: len(worker.owed)).ask(asked[-1], keys)

    def _receive(self, wanted: int) -> tuple[int, Batch | Failure | Lost]:
        """The next batch that is done, or what there is in its place, while `wanted` is waited for."""
        while True:
            try:
                source, number, content = self._messages.get(timeout=1)
            except queue.Empty:
                worker = next(worker for worker in self._workers if wanted in worker.owed)
                trouble = self._check(worker)
            else:
                found = next((worker for worker in self._workers if worker.socket is source), None)
                if found is None:  # it was replaced
                    continue
                worker = found
                if content is not None:
                    if worker.hear(number, content):
                        if worker.made == LIFETIME:
                            self._replace(worker)
                        return number, content
                    continue
                trouble = worker.describe_exit()
            if trouble and (lost := self._lose(worker, trouble)):
                return lost

    def _check(self, worker: Worker) -> Trouble | None:
        """Whether a process has died or hangs; called every second in which nothing comes from any process."""
        if not worker.process.is_alive():  # and a process that it started keeps its end of the socket open
            return worker.describe_exit()
        worker.look()
        if worker.idle < (STUCK if worker.started else START):
            return None
        return Trouble(
            f"did nothing for {worker.idle} seconds",
            "check the disk or network that it comes from, or find such files with `timesformer data check`",
        )

    def _lose(self, worker: Worker, trouble: Trouble) -> tuple[int, Lost] | None:
        """Replace a process that died or hangs; returns the batch that is lost with it, if it was reading a video."""
        reason = f"the process that decodes it {trouble.reason}"
        number, keys = next(iter(worker.owed.items()), (-1, []))
        told = worker.process.exitcode == -signal.SIGTERM  # by somebody, which is no fault of a video
        lost = None
        if self.on_loss and worker.reads and len(keys) == 1 and not told:
            lost = number, Lost(self.on_loss(keys[0], reason))
            del worker.owed[number]
        elif worker.reads or worker.tries == TRIES:
            self._fail(f"{worker.where()}: {reason}; {trouble.advice}")
        self._replace(worker)
        return lost

    def _replace(self, worker: Worker) -> None:
        """Start another process instead of this one, which does what is left."""
        end([worker])
        try:
            with signals_later():
                worker.fork()
                worker.listen(self._messages)
        except BaseException:
            self.close()
            raise
        for number, keys in worker.owed.items():
            worker.ask(number, keys)

    def _fail(self, text: str) -> NoReturn:
        """Raise WorkerError; what comes next starts with other processes."""
        self.close()
        raise WorkerError(text)
