"""The work of one request, which ends early when its client disconnects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Gone(Exception):  # noqa: N818
    """Nobody waits for the answer any more."""


class Job:
    """Work in threads and processes that can be stopped from elsewhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: list[Callable[[], object]] = []
        self.stopped = False

    @contextmanager
    def stoppable(self, stop: Callable[[], object]) -> Iterator[None]:
        """Have `stop` called when the job is stopped meanwhile; raises Gone where it has been already."""
        with self._lock:
            if self.stopped:
                raise Gone
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
        """End the work, wherever it is."""
        with self._lock:
            self.stopped, stops = True, list(self._stops)
        for stop in stops:
            stop()
