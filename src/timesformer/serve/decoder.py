"""Uploads are decoded in processes of their own, one each: whatever a file does to its process, the process ends, its
memory is returned, and nothing that it said has been believed without a look (`messages.py`).

They are forked from a process that has imported what decoding needs and nothing else, so one takes 30 ms to start, and
has neither weights nor tokens in its memory. `timesformer serve` takes the token out of its environment before, so they
have none in theirs; the environment that the service itself was started with stays readable, in /proc/PID/environ, to
processes of the same user.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Generator
from functools import partial
from itertools import count
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from timesformer.confined import describe_exit
from timesformer.serve.job import Disconnected, Job
from timesformer.serve.messages import most_messages, read_problem, read_shapes
from timesformer.serve.problems import Problem
from timesformer.serve.worker import Limits, Message, Task, decode_upload

HEADER = 2**20  # bytes, at most, of a header
ENDING = 10.0  # seconds that a process that has said its last word may take to end

# Main modules that are imported again in every process unless they have been before it was forked.
MAIN = ("timesformer.cli.main",)

Decode = Callable[[Connection, Path, Task, Limits], None]


class Decoder:
    """Starts these processes. Threads may share one.

    limits: of a video and its process; seconds: that it may take until its next message. decode: what a process does.
    """

    def __init__(self, limits: Limits, seconds: float, decode: Decode = decode_upload) -> None:
        self.limits, self.seconds, self.decode = limits, seconds, decode
        self._context = multiprocessing.get_context("forkserver")
        preload = [name for name in MAIN if name in sys.modules]
        self._context.set_forkserver_preload(["timesformer.serve.worker", *preload])
        self._lock = threading.Lock()  # multiprocessing looks after the children of other threads, too

    def read(self, job: Job, path: Path, task: Task) -> Generator[Message, None, None]:
        """What the process says of a file, message by message. Close it when it is no longer needed.

        Raises Problem where the file cannot be decoded, whatever the reason; Disconnected when the job is stopped.
        """
        ours, theirs = self._context.Pipe(duplex=False)
        with ours:
            with theirs:
                process = self._start(self.decode, theirs, path, task, self.limits)
            ended = False
            try:
                with job.stoppable(partial(_kill, process)):
                    yield from self._messages(ours, process, task)
                ended = True  # on its own, or about to
            except EOFError:
                if job.stopped:
                    raise Disconnected from None
                raise self._crash(process) from None
            finally:
                if not ended:
                    _kill(process)
                self._exit_code(process)

    def warm_up(self) -> None:
        """Start the process that the others are forked from."""
        self._exit_code(self._start(_nothing), math.inf)

    def _start(self, work: Callable[..., None], *given: Any) -> ForkServerProcess:
        """Raises Problem where the system has no process for it."""
        process = self._context.Process(target=work, args=given, daemon=True)
        try:
            with self._lock:
                process.start()
        except (OSError, EOFError):
            raise Problem("unavailable", "no process to decode with; retry in 10 s", 10) from None
        return process

    def _messages(self, ours: Connection, process: ForkServerProcess, task: Task) -> Generator[Message, None, None]:
        most = most_messages(task, self.limits)
        for number in count():
            late = threading.Event()

            def end(late: threading.Event = late) -> None:
                late.set()
                _kill(process)

            watchdog = threading.Timer(self.seconds, end)  # it may hang within a message, too
            watchdog.daemon = True
            watchdog.start()
            try:
                header, arrays = self._receive(ours, task, number)
            except ValueError:
                raise misbehaved() from None
            except EOFError:
                if late.is_set():
                    raise Problem("decoder_timeout", f"decoding took longer than {self.seconds:g} seconds") from None
                raise
            finally:
                watchdog.cancel()
            if header.get("end"):
                return
            if number == most:
                raise misbehaved()
            yield header, arrays

    def _receive(self, ours: Connection, task: Task, number: int) -> Message:
        """Message number so many of a process that is not trusted. Raises EOFError where none comes, ValueError for
        what is none, Problem where it is one."""
        try:
            header = json.loads(ours.recv_bytes(HEADER))
            if not isinstance(header, dict):
                raise ValueError
            found = header.pop("shapes", None)
            if "problem" in header:
                raise read_problem(header["problem"])
            if header.get("end"):
                return header, []
            arrays = []
            for shape in read_shapes(found, task, self.limits, first=number == 0):
                size = math.prod(shape)
                content = bytearray(ours.recv_bytes(size))
                if len(content) != size:
                    raise ValueError
                arrays.append(torch.frombuffer(content, dtype=torch.uint8).view(shape))
        except (OSError, RecursionError) as error:
            raise EOFError from error
        return header, arrays

    def _crash(self, process: ForkServerProcess) -> Problem:
        code = self._exit_code(process)
        if code == -signal.SIGXCPU:
            return Problem("decoder_timeout", f"decoding took more than {self.limits.cpu_seconds} s of processor time")
        return Problem("decoder_crashed", f"the decoder crashed: {describe_exit(code)}")

    def _exit_code(self, process: ForkServerProcess, seconds: float = ENDING) -> int | None:
        """How a process ended, when it has."""
        if not wait([process.sentinel], None if seconds == math.inf else seconds):
            _kill(process)
            wait([process.sentinel])
        with self._lock:
            process.join()
            return process.exitcode


def misbehaved() -> Problem:
    """For what is no message."""
    return Problem("decoder_crashed", "the decoder crashed: it sent no message of its task")


def _kill(process: ForkServerProcess) -> None:
    """Not one that has ended: its number may be that of another process by now."""
    if not wait([process.sentinel], 0):
        process.kill()


def _nothing() -> None:
    pass
