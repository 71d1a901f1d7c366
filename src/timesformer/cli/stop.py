"""Ctrl-C and SIGTERM end a command within seconds, whatever it is doing."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

STOPPED = 130  # exit code
GRACE = 7.0  # seconds for a command to end by itself

_said = threading.Event()
_finishing = threading.Lock()


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does. A process that is still there after the time of grace ends at
    once: it may be inside a library that waits for ever, where Python handles no signal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _said.clear()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    threading.Thread(target=_watch, args=(ours,), daemon=True).start()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    written = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.set_wakeup_fd(written)
        theirs.close()


@contextmanager
def draining() -> Iterator[None]:
    """For what handles both signals itself, and takes as long as it needs to end: it has no time of grace, and ends as
    it should."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watched = signal.set_wakeup_fd(-1)
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        signal.set_wakeup_fd(watched)


@contextmanager
def finishing() -> Iterator[None]:
    """For what has to be whole, such as a file: signals that come meanwhile count when it is done, and so does the time
    of grace, however long it takes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    with _finishing:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for number in before:
                signal.signal(number, lambda number, _: came.append(number))
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if came:
                raise KeyboardInterrupt


def say_stopped(stop: BaseException) -> None:
    """Say it, and in the same line what the KeyboardInterrupt that it comes from has noted, such as what is kept."""
    cause: BaseException | None = stop
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    _said.set()
    _print("; ".join(["stopped", *getattr(cause, "__notes__", ())]))


def _print(text: str) -> None:
    print(f"timesformer: {text}", file=sys.stderr, flush=True)


def _watch(signals: socket.socket) -> None:
    """Python writes the number of a signal here when it comes, before its handler runs."""
    with signals:
        while number := signals.recv(1):
            if number[0] in (signal.SIGINT, signal.SIGTERM):
                time.sleep(GRACE)
                while _finishing.locked():
                    with _finishing:
                        pass
                    time.sleep(GRACE)
                if not _said.is_set():
                    _print("stopped")
                os._exit(STOPPED)
