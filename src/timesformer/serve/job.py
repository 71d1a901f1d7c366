"""The work of one request, which ends early when its client disconnects."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio
from starlette.types import Receive

T = TypeVar("T")


class Disconnected(Exception):  # noqa: N818
    """Nobody waits for the answer any more."""


class Job:
    """Work in threads and processes that can be stopped from elsewhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: list[Callable[[], object]] = []
        self.stopped = False

    @contextmanager
    def stoppable(self, stop: Callable[[], object]) -> Iterator[None]:
        """Have `stop` called when the job is stopped meanwhile; raises Disconnected where it has been already."""
        with self._lock:
            if self.stopped:
                raise Disconnected
            self._stops.append(stop)
        try:
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)

    @contextmanager
    def at_most(self, seconds: float) -> Iterator[threading.Event]:
        """Stop the job where the block takes longer; the event says so."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self.stop()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def stop(self) -> None:
        """End the work, wherever it is. What has left its `stoppable` block is not stopped any more: it may be at work
        for another job by then."""
        with self._lock:
            self.stopped = True
            for stop in self._stops:
                stop()


async def while_connected(
    receive: Receive, work: Callable[[], Awaitable[T]], stop: Callable[[], object] = lambda: None
) -> T:
    """The result of `work()`, which is cancelled when the client leaves; raises Disconnected then.

    receive: of a request whose body has come. stop: is called at the end of the work, and before it is cancelled: what
    runs in a thread has to be told.
    """
    results: list[T] = []
    errors: list[Exception] = []

    async def watch() -> None:
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            stop()
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            results.append(await work())
        except Exception as error:
            errors.append(error)
        group.cancel_scope.cancel()
    if errors:
        raise errors[0]
    if not results:
        raise Disconnected
    return results[0]
