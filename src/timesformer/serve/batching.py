"""Clips of different clients go through an engine together, as many as keep it busy.

A batch is of clips, not of requests: it takes them in the order in which they came, of as many requests as they belong
to, and a request that has more than fit comes on in the next batch. It waits a moment for predictions that are being
decoded, until it has half of the clips: one alone costs a small network nearly three times as much as one of eight, and
decoders use the cores meanwhile.

Dimensions: B clips, C 3 colours, T frames, H and W pixels.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import contextmanager, suppress
from functools import partial

import torch
from torch import Tensor

from timesformer.engine.engine import Engine
from timesformer.serve.job import Disconnected, Job
from timesformer.serve.problems import Problem

LONGEST = 60  # seconds, at most, after which a client is told to retry
GATHERING = 0.03  # seconds, at most, that a batch waits for clips that are being decoded
HUNG = 300.0  # seconds of a batch after which its engine counts as hung
LOOK = 1.0  # seconds between two looks of who waits whether it hangs
ENDING = 10.0  # seconds, at most, that the end of the service waits for a batch

OnBatch = Callable[[int, float], None]  # clips, and the seconds they took


class _Call:
    """Clips of one call on their way. layer: None for logits, or which features."""

    def __init__(self, clips_BCTHW: Tensor, layer: int | None, tokens: bool) -> None:
        self.clips_BCTHW, self.layer, self.tokens = clips_BCTHW, layer, tokens
        self.taken = 0
        self.found: list[Tensor] = []
        self.result: Future[Tensor] = Future()

    def joins(self, other: _Call) -> bool:
        """Whether both can be in a batch. Features are computed of one request's clips alone, so that they are those
        of `timesformer features` to the last bit."""
        return self is other or (
            self.layer is other.layer is None and self.clips_BCTHW.shape[1:] == other.clips_BCTHW.shape[1:]
        )

    def add(self, rows: Tensor) -> None:
        self.found.append(rows)
        if sum(map(len, self.found)) == len(self.clips_BCTHW):
            with suppress(InvalidStateError):  # its client has disconnected
                self.result.set_result(torch.cat(self.found))

    def fail(self, error: BaseException) -> None:
        with suppress(InvalidStateError):
            self.result.set_exception(error)


class Batcher:
    """An engine in a thread of its own, and how many clips wait for it.

    limit: clips that may be reserved by requests at a time. on_batch: is told of every batch.
    """

    def __init__(self, engine: Engine, limit: int, on_batch: OnBatch = lambda clips, seconds: None) -> None:
        self.engine, self.limit, self.on_batch = engine, limit, on_batch
        self.reserved = 0
        self._seconds_a_clip = 0.0
        self._computing_since: float | None = None
        self._calls: deque[_Call] = deque()
        self._coming: dict[Job, int] = {}  # clips
        self._changed = threading.Condition()
        self._closed = False
        self._left = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs, and does not hang in a batch, for too long or when it was to end."""
        since = self._computing_since
        hangs = since is not None and time.perf_counter() - since > HUNG
        return self._thread.is_alive() and not hangs and not self._left

    def check_room(self, clips: int, held: int = 0) -> None:
        """Raises Problem where the engine is not `alive`; and, with the seconds after which others will be done, where
        so many clips do not fit any more.

        A request that is larger than the queue fits when nothing else waits. held: what it has reserved already.
        """
        if not self.alive:
            raise _stopped()
        if self.reserved > held and self.reserved + clips > self.limit:
            seconds = min(max(math.ceil(self.reserved * self._seconds_a_clip), 1), LONGEST)
            raise Problem(
                "busy", f"{self.reserved} clips wait for this model, of {self.limit}; retry in {seconds} s", seconds
            )

    @contextmanager
    def reserve(self, clips: int, held: int = 0) -> Iterator[None]:
        """Room for so many clips, beside what the request holds. Raises Problem as `check_room` does."""
        with self._changed:
            self.check_room(clips, held)
            self.reserved += clips
        try:
            yield
        finally:
            with self._changed:
                self.reserved -= clips

    def expect(self, job: Job, clips: int) -> None:
        """So many clips of a job are being decoded for a prediction. They are waited for until the job comes to `run`;
        where it may not come there, see that `forget` is called."""
        with self._changed:
            self._coming[job] = clips

    def forget(self, job: Job) -> None:
        """Do not wait for a job, which may have come."""
        with self._changed:
            if self._coming.pop(job, None):
                self._changed.notify()

    def engine_for(self, job: Job) -> Engine:
        """The engine for the job of one request: calls wait for their turn, and end with the job."""
        return self.engine.with_compute(partial(self.run, job))

    def run(self, job: Job, clips_BCTHW: Tensor, layer: int | None = None, tokens: bool = False) -> Tensor:
        """Rows of the clips, on the CPU. Raises Disconnected when the job is stopped; Problem when the engine is, or
        hangs."""
        call = _Call(clips_BCTHW, layer, tokens)
        with self._changed:
            if self._closed or not self.alive:
                raise _stopped()
            self._coming.pop(job, None)
            self._calls.append(call)
            self._changed.notify()
        with job.stoppable(call.result.cancel):
            while not call.result.done():
                with suppress(TimeoutError, CancelledError):
                    call.result.exception(LOOK)
                if not self.alive:
                    call.fail(_stopped())
            try:
                return call.result.result()
            except CancelledError:
                raise Disconnected from None

    def stop(self) -> None:
        """Begin no other batch."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def close(self, seconds: float = ENDING) -> None:
        """End the thread when it has done its batch, or leave it where that takes longer; what still waits fails as
        `run` says."""
        self.stop()
        self._thread.join(seconds if self.alive else 0)
        self._left = self._thread.is_alive()

    def _work(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._calls or self._closed)
                    self._changed.wait_for(lambda: self._closed or self._gathered, GATHERING)
                    if self._closed:
                        return
                    batch = self._take()
                if batch:
                    self._run(batch)
        finally:  # whatever ends it, nobody waits for ever
            with self._changed:
                self._closed = True
                for call in self._calls:
                    call.fail(_stopped())

    @property
    def _gathered(self) -> bool:
        """Whether no more clips fit, or as many wait as are to come. Features share no batch, so they wait for none."""
        first = self._calls[0]
        if first.layer is not None:
            return True
        waiting = sum(len(call.clips_BCTHW) - call.taken for call in self._calls if call.joins(first))
        return waiting >= min(self.engine.views, sum(self._coming.values()))

    def _take(self) -> list[tuple[_Call, Tensor]]:
        """The clips of the next batch, with the calls that they are of."""
        batch: list[tuple[_Call, Tensor]] = []
        room = self.engine.views
        for call in list(self._calls):
            if call.result.done():  # cancelled, or failed in an earlier batch
                self._calls.remove(call)
            elif room and (not batch or call.joins(batch[0][0])):
                part = call.clips_BCTHW[call.taken : call.taken + room]
                batch.append((call, part))
                call.taken += len(part)
                room -= len(part)
                if call.taken == len(call.clips_BCTHW):
                    self._calls.remove(call)
        return batch

    def _run(self, batch: list[tuple[_Call, Tensor]]) -> None:
        first, self._computing_since = batch[0][0], time.perf_counter()
        try:
            clips_BCTHW = torch.cat([part for _, part in batch])
            if first.layer is None:
                found = self.engine(clips_BCTHW)
            else:
                found = self.engine.features(clips_BCTHW, first.layer, first.tokens)
            rows = found.float().cpu()
            seconds = time.perf_counter() - self._computing_since
            now = seconds / len(clips_BCTHW)
            self._seconds_a_clip = 0.8 * self._seconds_a_clip + 0.2 * now if self._seconds_a_clip else now
            self.on_batch(len(clips_BCTHW), seconds)
            for (call, _), part in zip(batch, rows.split([len(part) for _, part in batch]), strict=True):
                call.add(part)
        except BaseException as error:
            for call, _ in batch:
                call.fail(error if isinstance(error, Exception) else _stopped())
            if not isinstance(error, Exception):
                raise
        finally:
            self._computing_since = None


def _stopped() -> Problem:
    return Problem("unavailable", "the engine of this model is stopped; retry when the service has been restarted")
