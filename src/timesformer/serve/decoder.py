"""Uploads are decoded in processes of their own, each of which has one at a time: whatever a file does to its process,
no other request notices, and nothing that the process said has been believed without a look (`messages.py`).

A process gets another upload as long as each has been decoded to its end and all that was said of it believed;
after anything else it is killed, and after UPLOADS anyway. So a file that crashes, hangs or swells costs its process,
and one that takes its process over has it for UPLOADS - 1 more at most, which it could read and answer, and has what
its memory still holds of those before.
A process for each upload would leave it none, but costs more than decoding (docs/serve.md).

Processes are forked from one that has imported what decoding needs and nothing else, so one takes 30 ms to start, and
has neither weights nor tokens in its memory. `timesformer serve` takes the token out of its environment before, so they
have none in theirs; the environment that the service itself was started with stays readable, in /proc/PID/environ, to
processes of the same user.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import threading
import time
from collections.abc import Generator
from itertools import count
from pathlib import Path

import torch

from timesformer.confined import describe_exit
from timesformer.serve.job import Disconnected, Job
from timesformer.serve.messages import most_messages, read_problem, read_shapes
from timesformer.serve.problems import Problem
from timesformer.serve.process import CONTEXT, DecoderProcess
from timesformer.serve.worker import Decode, Limits, Message, Task, decode_upload

HEADER = 2**20  # bytes, at most, of a header
UPLOADS = 100  # that a process gets, at most
AHEAD = 2  # processes, at most, that are started ahead of need

# Main modules that are imported again in every process unless they have been before it was forked.
MAIN = ("timesformer.cli.main",)


class Decoder:
    """Processes that decode. Threads may share one, and have as many processes as they ask for at a time. Close it at
    the end.

    limits: of a video and its process; seconds: that it may take until its next message. idle: processes, at most, that
    wait for an upload. decode: what a process does.
    """

    def __init__(self, limits: Limits, seconds: float, idle: int, decode: Decode = decode_upload) -> None:
        self.limits, self.seconds, self.most_idle, self.decode = limits, seconds, idle, decode
        self._idle: list[DecoderProcess] = []
        self._lock = threading.Lock()
        self._closed = False
        CONTEXT.set_forkserver_preload(["timesformer.serve.worker", *(name for name in MAIN if name in sys.modules)])

    def read(self, job: Job, path: Path, task: Task) -> Generator[Message, None, None]:
        """What a process says of a file, message by message. Close it where it is not read to its end, such as after a
        message that is not believed: the process is killed then.

        Raises Problem where the file cannot be decoded, whatever the reason; Disconnected when the job is stopped.
        """
        process, more = self._given(path, task), False
        try:
            with job.stoppable(process.kill):
                more = yield from self._messages(process, task)
        except EOFError:
            if job.stopped:
                raise Disconnected from None
            raise _crash(process, self.limits) from None
        finally:
            self._take_back(process, more and not job.stopped)

    def warm_up(self) -> None:
        """Start processes ahead of need. Raises Problem where the system has none."""
        for _ in range(min(AHEAD, self.most_idle)):
            self._take_back(DecoderProcess(self.decode, self.limits), True)

    def close(self) -> None:
        """End the processes that are idle; the others end with what they decode."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    def _given(self, path: Path, task: Task) -> DecoderProcess:
        """A process that has been told what to do: an idle one, unless something has ended it meanwhile."""
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            if process is None:
                process = DecoderProcess(self.decode, self.limits)
                process.give(path, task)  # should it have ended, it gives no answer
                return process
            if process.give(path, task):
                return process
            process.end()

    def _take_back(self, process: DecoderProcess, more: bool) -> None:
        with self._lock:
            kept = more and process.uploads < UPLOADS and len(self._idle) < self.most_idle and not self._closed
            if kept:
                self._idle.append(process)
        if not kept:
            process.end()

    def _messages(self, process: DecoderProcess, task: Task) -> Generator[Message, None, bool]:
        """Returns whether the process takes another upload."""
        most = most_messages(task, self.limits)
        for number in count():
            try:
                header, arrays = self._receive(process, task, number)
            except ValueError:
                raise misbehaved() from None
            except TimeoutError:
                raise Problem("decoder_timeout", f"decoding took longer than {self.seconds:g} seconds") from None
            ends = bool(header.get("end"))
            if number == (0 if ends else most):  # every task has a message, and no more than so many
                raise misbehaved()
            if ends:
                return header.get("more") is True
            yield header, arrays
        raise AssertionError

    def _receive(self, process: DecoderProcess, task: Task, number: int) -> Message:
        """Message number so many of a process that is not trusted. Raises EOFError where none comes, TimeoutError where
        it does not come in time, ValueError for what is none, Problem where it is one."""
        until = time.monotonic() + self.seconds
        size = int.from_bytes(process.receive(4, until))
        if size > HEADER:
            raise ValueError
        try:
            header = json.loads(process.receive(size, until))
        except RecursionError:
            raise ValueError from None
        if not isinstance(header, dict):
            raise ValueError
        found = header.pop("shapes", None)
        if "problem" in header:
            raise read_problem(header["problem"])
        if header.get("end"):
            return header, []
        arrays = []
        for shape in read_shapes(found, task, self.limits, first=number == 0):
            content = process.receive(math.prod(shape), until)
            arrays.append(torch.frombuffer(content, dtype=torch.uint8).view(shape))
        return header, arrays


def _crash(process: DecoderProcess, limits: Limits) -> Problem:
    code = process.exit_code()
    if code == -signal.SIGXCPU:
        return Problem("decoder_timeout", f"decoding took more than {limits.cpu_seconds} s of processor time")
    return Problem("decoder_crashed", f"the decoder crashed: {describe_exit(code)}")


def misbehaved() -> Problem:
    """For what is no message."""
    return Problem("decoder_crashed", "the decoder crashed: it sent no message of its task")
