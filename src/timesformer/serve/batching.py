"""Clips of different clients go through an engine together, as many as keep it busy.

A batch is of clips, not of requests: it takes them in the order in which they came, of as many requests as they belong
to, and a request that has more than fit comes on in the next batch.

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

import torch
from torch import Tensor

from timesformer.engine.engine import Engine, check_bytes
from timesformer.serve.job import Gone, Job
from timesformer.serve.problems import Problem

LONGEST = 60  # seconds, at most, after which a client is told to come again

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
            with suppress(InvalidStateError):  # its client has left
                self.result.set_result(torch.cat(self.found))


class Batcher:
    """An engine in a thread of its own, and how many clips wait for it.

    limit: clips that may be promised to requests at a time. on_batch: is told of every batch.
    """

    def __init__(self, engine: Engine, limit: int, on_batch: OnBatch = lambda clips, seconds: None) -> None:
        self.engine, self.limit, self.on_batch = engine, limit, on_batch
        self.promised = 0
        self._seconds_a_clip = 0.0
        self._calls: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def check_room(self, clips: int) -> None:
        """Raises Problem, with the seconds after which others will be done, where there is no place for so many clips.

        A request that is larger than the queue has its place when nothing else waits.
        """
        if self.promised and self.promised + clips > self.limit:
            seconds = min(max(math.ceil(self.promised * self._seconds_a_clip), 1), LONGEST)
            raise Problem("busy", f"{self.promised} clips wait for this model; come again in {seconds} s", seconds)

    @contextmanager
    def promise(self, clips: int) -> Iterator[None]:
        """A place for so many clips. Raises Problem as `check_room` does."""
        with self._changed:
            self.check_room(clips)
            self.promised += clips
        try:
            yield
        finally:
            with self._changed:
                self.promised -= clips

    def run(self, job: Job, clips_BCTHW: Tensor, layer: int | None, tokens: bool) -> Tensor:
        """What the engine makes of clips, on the CPU. Raises Gone when the job is stopped."""
        call = _Call(clips_BCTHW, layer, tokens)
        with self._changed:
            if self._closed:
                raise Gone
            self._calls.append(call)
            self._changed.notify()
        with job.stoppable(call.result.cancel):
            try:
                return call.result.result()
            except CancelledError:
                raise Gone from None

    def close(self) -> None:
        """End the thread when it has done its batch; whoever still waits gets Gone."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()
        for call in self._calls:
            call.result.cancel()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._calls or self._closed)
                if self._closed:
                    return
                batch = self._take()
            if batch:
                self._run(batch)

    def _take(self) -> list[tuple[_Call, Tensor]]:
        """The clips of the next batch, with the calls that they are of."""
        while self._calls and self._calls[0].result.cancelled():
            self._calls.popleft()
        batch: list[tuple[_Call, Tensor]] = []
        room = self.engine.views
        for call in list(self._calls):
            if call.result.cancelled():
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
        first = batch[0][0]
        clips_BCTHW = torch.cat([part for _, part in batch])
        began = time.perf_counter()
        try:
            if first.layer is None:
                found = self.engine(clips_BCTHW)
            else:
                found = self.engine.features(clips_BCTHW, first.layer, first.tokens)
            rows = found.float().cpu()
        except Exception as error:
            for call, _ in batch:
                with suppress(InvalidStateError):
                    call.result.set_exception(error)
            return
        seconds = time.perf_counter() - began
        now = seconds / len(clips_BCTHW)
        self._seconds_a_clip = 0.8 * self._seconds_a_clip + 0.2 * now if self._seconds_a_clip else now
        self.on_batch(len(clips_BCTHW), seconds)
        for (call, _), part in zip(batch, rows.split([len(part) for _, part in batch]), strict=True):
            call.add(part)


class SharedEngine(Engine):
    """The same engine, for the job of one request: its calls wait for their turn, and end with Gone when it does."""

    def __init__(self, batcher: Batcher, job: Job) -> None:
        vars(self).update(vars(batcher.engine))
        self._batcher, self._job = batcher, job

    def _call(self, clips_BCTHW: Tensor, layer: int | None, tokens: bool) -> Tensor:
        check_bytes(clips_BCTHW, *self._units)
        return self._batcher.run(self._job, clips_BCTHW, layer, tokens)
