"""A process that decodes batches for this one, from its fork to its end."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from timesformer.confined import describe_exit
from timesformer.data.channel import receive, send
from timesformer.data.dataset import Batch
from timesformer.data.decoding import STOPPING, Failure, Key, Videos, decode_batches
from timesformer.errors import WorkerError

GRACE = 2.0  # seconds between SIGTERM and SIGKILL

_OURS: set[socket.socket] = set()  # this process's ends of all sockets


class Message(NamedTuple):
    """What came through a socket: the key of the video that is read now, a batch or a failure with its number; None
    at the end."""

    socket: socket.socket
    number: int
    content: Key | Batch | Failure | None


class Trouble(NamedTuple):
    """How a process died or hangs, and what to do about it."""

    reason: str
    advice: str


class Worker:
    """A process, what it owes, and how it is; another one may be started instead.

    Attributes: `owed`, batches asked for, by their number, in the order in which it makes them; `reads`, the key of the
    video it reads, in a tuple, None between batches; `made`, batches since its fork; `started`, whether it has done
    anything; `tries`, processes in a row that have not; `ran`, its processor time when it was last looked at; `idle`,
    seconds since then without any.
    """

    def __init__(self, videos: Videos) -> None:
        self.videos = videos
        self.owed: dict[int, list[Key]] = {}
        self.tries = 0
        self.fork()

    def fork(self) -> None:
        """Start a process. Raises WorkerError where the system lets no more start."""
        self.tries += 1
        self.started, self.made = False, 0
        self.reads: tuple[Key] | None = None
        self.ran, self.idle = None, 0
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise _not_started(error.strerror) from error
        _OURS.add(ours)
        # A fork has what is in memory, arrays of users too, and is there at once; to import torch takes seconds.
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
        lasting = threading.current_thread() is threading.main_thread()
        inherited = _OURS if context.get_start_method() == "fork" else ()
        given = (theirs, self.videos, os.getpid() if lasting else None, inherited)
        process = context.Process(target=decode_batches, args=given, daemon=True)
        try:
            process.start()
        except BaseException as error:
            _forget(ours)
            if isinstance(error, OSError):
                raise _not_started(error.strerror) from error
            raise
        finally:
            theirs.close()
        self.process, self.socket, self.listens = process, ours, False

    def listen(self, messages: queue.SimpleQueue[Message]) -> None:
        """Receive what comes, in a thread, so that the process does not wait for this one. Raises WorkerError where the
        system lets no thread start."""
        try:
            threading.Thread(target=_listen, args=(self.socket, messages), daemon=True).start()
        except RuntimeError as error:
            raise _not_started(str(error)) from error
        self.listens = True  # and closes the socket at its end

    def ask(self, number: int, keys: list[Key]) -> None:
        """Ask for a batch. Whether the process has died is learnt by listening."""
        self.owed[number] = keys
        with suppress(OSError):
            send(self.socket, number, keys)

    def hear(self, number: int, content: Key | Batch | Failure) -> bool:
        """Take note of a message; whether it is a batch or why there is none."""
        self.started, self.tries, self.idle = True, 0, 0
        done = isinstance(content, Batch | Failure)
        self.reads = None if done else (content,)
        if done:
            self.made += 1
            del self.owed[number]
        return done

    def look(self) -> None:
        """Called every second in which nothing comes: whether it has had processor time since."""
        ran = _processor_time(self.process.pid)
        self.idle = self.idle + 1 if ran == self.ran else 0
        self.ran = ran

    def where(self) -> str:
        """The video that is read, or the first one that would have been."""
        keys = self.reads or next(iter(self.owed.values()), ())
        return str(self.videos.name(keys[0])) if keys else "between videos"

    def describe_exit(self) -> Trouble:
        """How it died."""
        self.process.join(GRACE)
        code = self.process.exitcode or 0
        if code == -signal.SIGTERM:
            time.sleep(1)  # where a whole process group is told to stop, this process hears of it too
        name = describe_exit(code)
        if code == -signal.SIGKILL:
            return Trouble(f"died, {name}, perhaps of too little memory", "lower data.workers or the batch size")
        return Trouble(f"died, {name}", "find files that do that with `timesformer data check`")


@contextmanager
def signals_later() -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM after all processes have been forked.

    Both are blocked: a fork has the handlers of this process until it sets its own in `follow_parent`, and they would
    write to this process's `signal.set_wakeup_fd`. Another thread may still receive what is sent to this process, so
    the handlers wait too: Python ignores what a handler raises during a fork.
    """
    came: list[int] = []
    held = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in STOPPING}
        held = {number: handler for number, handler in handlers.items() if handler is not None}  # else not Python's
    try:
        for number in held:
            signal.signal(number, lambda arrived, frame: came.append(arrived))
        with _blocked():
            yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for arrived in came:
            signal.raise_signal(arrived)


@contextmanager
def _blocked() -> Iterator[None]:
    """Only Linux forks."""
    if sys.platform != "linux":
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def end(workers: list[Worker]) -> None:
    """End processes, none of which has anything to keep."""
    for worker in workers:
        worker.process.terminate()
    until = time.monotonic() + GRACE
    for worker in workers:
        worker.process.join(max(until - time.monotonic(), 0))
        if worker.process.is_alive():  # a stopped one, say
            worker.process.kill()
            worker.process.join(GRACE)
        with suppress(OSError):
            worker.socket.shutdown(socket.SHUT_RDWR)
        if not worker.listens:
            _forget(worker.socket)
    workers.clear()


def _processor_time(pid: int) -> Any:
    """What a process has had so far; where the system does not say, the time of day: it may have run."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[11:13]
    except OSError:
        return time.monotonic()


def _not_started(reason: str | None) -> WorkerError:
    return WorkerError(
        f"a process that decodes videos cannot be started: {reason}; use fewer workers (data.workers, --workers), or "
        "raise this system's limits of processes, open files or memory (ulimit -u, -n, -v)"
    )


def _listen(ours: socket.socket, messages: queue.SimpleQueue[Message]) -> None:
    try:
        while True:
            messages.put(Message(ours, *receive(ours)))
    except (OSError, EOFError):
        messages.put(Message(ours, -1, None))
    finally:
        _forget(ours)


def _forget(ours: socket.socket) -> None:
    _OURS.discard(ours)
    ours.close()
