"""Threads that get items ready while others are used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

WAIT = 0.1  # seconds between two looks at whether anybody still wants items


class _Item(NamedTuple, Generic[T]):
    value: T


class _End(NamedTuple):
    error: BaseException | None


class ReadAhead(Generic[T]):
    """The same items, up to `depth` of which a thread gets ready from now on; an error comes where it is raised.

    Once it has been closed, nothing more is asked of `items`. Use it with `contextlib.closing`.
    """

    def __init__(self, items: Iterator[T], depth: int) -> None:
        self._items = items
        self._ready: queue.Queue[_Item[T] | _End] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="read ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        while isinstance(item := self._ready.get(), _Item):
            yield item.value
        if item.error is not None:
            raise item.error

    def close(self) -> None:
        """End the thread, when it has done what it is doing."""
        self._stopped.set()
        self._thread.join()

    def _work(self) -> None:
        error: BaseException | None = None
        try:
            for value in self._items:
                if not self._put(_Item(value)):
                    break
        except BaseException as caught:
            error = caught
        self._put(_End(error))

    def _put(self, item: _Item[T] | _End) -> bool:
        """Whether anybody wants it."""
        while not self._stopped.is_set():
            try:
                self._ready.put(item, timeout=WAIT)
                return True
            except queue.Full:
                continue
        return False


def read_streams(streams: Sequence[Callable[[], Iterator[T]]], threads: int, depth: int = 4) -> Iterator[Iterator[T]]:
    """Each stream as an iterator, in order; read it to its end, or to what it raises, before the next one.

    streams: make a stream when called, such as generator functions: at most `threads` of them are read at a time, each
    in a thread of its own and no more than `depth` items ahead. 0 threads read in this one, when asked.
    """
    if not threads:
        yield from (stream() for stream in streams)
        return
    running: list[ReadAhead[T]] = []
    try:
        for number in range(len(streams)):
            ahead = streams[number + len(running) : number + threads]
            running += [ReadAhead(stream(), depth) for stream in ahead]
            yield iter(running[0])
            running.pop(0).close()
    finally:
        for reader in running:
            reader.close()
