"""Uploads are decoded in processes of their own, one each: whatever a file does to its process, the process ends, its
memory is returned, and nothing that it said has been believed without a look.

They are forked from a process that has imported what decoding needs and nothing else, so one takes 30 ms to start, and
has neither weights nor tokens in its memory.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from timesformer.serve.job import Gone, Job
from timesformer.serve.problems import CODES, Problem
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

        Raises Problem where the file cannot be decoded, whatever the reason; Gone when the job is stopped.
        """
        ours, theirs = self._context.Pipe(duplex=False)
        with ours:
            with theirs, self._lock:
                process = self._context.Process(target=self.decode, args=(theirs, path, task, self.limits), daemon=True)
                process.start()
            try:
                with job.stoppable(process.kill):
                    yield from self._messages(ours, process)
            except EOFError:
                if job.stopped:
                    raise Gone from None
                raise self._crash(process) from None
            finally:
                process.kill()
                self._exit_code(process)

    def warm_up(self) -> None:
        """Start the process that the others are forked from."""
        with self._lock:
            process = self._context.Process(target=_nothing, daemon=True)
            process.start()
        self._exit_code(process, math.inf)

    def _messages(self, ours: Connection, process: ForkServerProcess) -> Generator[Message, None, None]:
        while True:
            late = threading.Event()

            def end(late: threading.Event = late) -> None:
                late.set()
                process.kill()

            watchdog = threading.Timer(self.seconds, end)  # it may hang within a message, too
            watchdog.daemon = True
            watchdog.start()
            try:
                header, arrays = _receive(ours, self.limits.memory)
            except EOFError:
                if late.is_set():
                    raise Problem("decoder_timeout", f"decoding took longer than {self.seconds:g} seconds") from None
                raise
            finally:
                watchdog.cancel()
            if "problem" in header:
                code, detail = header["problem"]
                raise Problem(code if code in CODES else "unreadable_video", str(detail))
            if header.get("end"):
                return
            yield header, arrays

    def _crash(self, process: ForkServerProcess) -> Problem:
        code = self._exit_code(process)
        if code == -signal.SIGXCPU:
            return Problem("decoder_timeout", f"decoding took more than {self.limits.cpu_seconds} s of processor time")
        name = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        return Problem("decoder_crashed", f"the decoder crashed: {name}")

    def _exit_code(self, process: ForkServerProcess, seconds: float = ENDING) -> int | None:
        """How a process ended, when it has."""
        if not wait([process.sentinel], None if seconds == math.inf else seconds):
            process.kill()
            wait([process.sentinel])
        with self._lock:
            process.join()
            return process.exitcode


def _nothing() -> None:
    pass


def _receive(ours: Connection, limit: int) -> Message:
    """A message of a process that is not trusted. Raises EOFError where it is none."""
    try:
        header: dict[str, Any] = json.loads(ours.recv_bytes(HEADER))
        arrays = []
        for shape in header.pop("shapes"):
            content = bytearray(ours.recv_bytes(limit))
            arrays.append(torch.frombuffer(content, dtype=torch.uint8).view(tuple(map(int, shape))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise EOFError from error
    return header, arrays
