"""A process that reads videos for a Ray worker, so that what a video does to it costs one row.

    Ray worker  ->  nursery  ->  process that reads
                started once     forked from it, again after each loss

The nursery, `nursery.py`, is started fresh and has one thread: a fork of the
Ray worker would have the sockets and the locks of Ray's threads. It imports what decoding needs, which takes seconds,
and forks, which takes none. A process stays for as many videos as it survives; a video that crashes it, takes too long
or too much memory is tried again in another one, as often as the limits say. Where video after video ends its process,
the machine is at fault, not they: the run ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import send_handle
from typing import TYPE_CHECKING, Any, NamedTuple

from timesformer.confined import describe_exit, seconds_queued
from timesformer.errors import SettingError, WorkerError, one_line

if TYPE_CHECKING:
    from timesformer.scale.work import Facts

FETCH = 1800  # seconds that a file may take from its store, of which no time limit of decoding says anything
START = 300  # seconds that a process has to import what it needs
LIFETIME = 10_000  # videos of a process; decoders leave some 3 kB a video in its heap, which would add up
GLANCE = 0.1  # seconds that a message may take before the system is asked whether its sender could run
IN_A_ROW = 16  # videos that end their processes one after the other, at which the run ends


class Limits(NamedTuple):
    """What a video may cost. retries: further tries after a crash or a limit; seconds: until its next piece comes, not
    counting those in which other programs, or models, had the processors (Linux); memory: GB (1e9 bytes) of private
    memory that decoding it may take (Linux)."""

    retries: int = 1
    seconds: float = 300.0
    memory: float = 4.0

    def check(self) -> None:
        """Raises SettingError for values that are not allowed."""
        if self.retries < 0:
            raise SettingError(f"retries is {self.retries}; expected 0 or more")
        for name in ("seconds", "memory"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SettingError(f"{name} is {getattr(self, name):g}; expected more than 0")


class Views(NamedTuple):
    """A piece as it comes through the pipe: what is known of its views, their shape, and the views as they lie in
    memory."""

    facts: Facts
    shape: tuple[int, ...]
    content: bytes


class End(NamedTuple):
    """A video has no more pieces. problem: why it cannot be read, or not any further; cpu: seconds of the processor;
    bytes: of the file; lost: processes that it has cost."""

    problem: str | None
    cpu: float
    bytes: int
    lost: int = 0


class Lost(Exception):  # noqa: N818
    """A process has ended without a word, or was ended at a limit; what it says is how.

    Attribute: `cpu`, the seconds of the processor that its last video has had."""

    cpu = 0.0


class Decoder:
    """Such a process, and the next one when it is lost; for one run after the other."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._nursery: subprocess.Popen[bytes] | None = None
        self._alive = False
        self._pipe: Connection[Any, Any] | None = None
        self._read, self._work = 0, b""
        self._asked: object | None = None  # for what an answer is not yet complete
        self._in_a_row = 0

    def read(self, work: bytes, video: bytes) -> Iterator[Views | End]:
        """The pieces of a video, each once however many tries it takes, and its end.

        work: a pickled pair, `Work` and `About`. video: another, of what `Work.read` takes as source, or the URL of an
        object in a store, and the cells of its list. They are pickled so that only the process needs torch. Raises the
        error of a store that does not answer, SettingError for settings that no video allows, and WorkerError where no
        process starts, and where videos in a row have ended so many that it is hardly their fault.
        """
        sent, lost, cpu = 0, 0, 0.0
        while True:
            try:
                for number, message in enumerate(self._ask(work, video)):
                    if isinstance(message, End):
                        self._in_a_row = 0
                        yield message._replace(cpu=message.cpu + cpu, lost=lost)
                        return
                    if number == sent:  # of an earlier try otherwise
                        sent += 1
                        yield message
            except Lost as error:
                lost += 1
                cpu += error.cpu
                if lost > self.limits.retries:
                    tries = f" in {lost} tries" if lost > 1 else ""
                    problem = f"the process that decodes it {error}{tries}"
                    self._in_a_row += 1
                    if self._in_a_row >= IN_A_ROW:
                        raise WorkerError(
                            f"{self._in_a_row} videos in a row ended the process that decodes them, as where a machine "
                            f"lacks memory or a file system hangs; of the last one, {problem}"
                        ) from None
                    yield End(problem, cpu, 0, lost)
                    return

    def close(self) -> None:
        """End the processes."""
        nursery, self._nursery, self._alive, self._asked = self._nursery, None, False, None
        if nursery is not None:
            nursery.kill()  # and what it has forked follows
            nursery.wait()
            self._control.close()
            if self._pipe is not None:
                self._pipe.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, work: bytes, video: bytes) -> Iterator[Views | End]:
        """What a process answers, in one try. Raises Lost, and ends the process, where that is not all of it."""
        if self._asked is not None:  # its reader was stopped, and what comes yet is of that video
            self._end()
        if not self._alive or self._read >= LIFETIME:
            self._start()
        self._read += 1
        asked = self._asked = object()
        try:
            assert self._pipe is not None
            with suppress(OSError):  # its end is learnt by listening
                self._pipe.send((None if work == self._work else work, video))
            self._work = work
            seconds: float = FETCH
            while True:
                message = self._receive(seconds)
                seconds = self.limits.seconds
                if isinstance(message, End | Exception):
                    self._asked = None
                if isinstance(message, Exception):
                    raise message
                if isinstance(message, End):
                    self._cpu += message.cpu
                if message is not None:  # the file is here
                    yield message
                if isinstance(message, End):
                    return
        except Lost as error:
            before = self._cpu
            status, ran = self._end()
            lost = Lost(str(error) or _describe(status))
            lost.cpu = max(0.0, ran - before)
            raise lost from None
        finally:  # such as Ctrl-C or a task that is cancelled: what the process sends yet is of no use
            if self._asked is asked:
                self._end()

    def _start(self) -> None:
        """Another process."""
        if self._alive:
            self._end()
        try:
            opened = self._nursery is None
            if opened:
                self._open_nursery()
            self._pipe, theirs = Pipe()
            try:
                if opened:
                    self._control.recv()
                with theirs:
                    send_handle(self._control, theirs.fileno(), None)
                self._process = int(self._control.recv())
                self._pipe.send((self._folder, self.limits.memory))
            except (OSError, EOFError):
                raise WorkerError("a process that decodes videos ended at its start") from None
        except OSError as error:
            self.close()
            raise WorkerError(
                f"a process that decodes videos cannot be started: {one_line(error)}; free memory and space in TMPDIR, "
                "or set TMPDIR to another folder"
            ) from None
        except BaseException:  # nobody knows how far it is
            self.close()
            raise
        self._alive, self._read, self._cpu, self._work = True, 0, 0.0, b""

    def _open_nursery(self) -> None:
        """Raises OSError where the system lets no process start, WorkerError where it says nothing in time."""
        self._pipe = None
        self._control, theirs = Pipe()
        self._folder = tempfile.mkdtemp(prefix="timesformer-")
        words = [sys.executable, "-W", "ignore", "-m", "timesformer.scale.nursery", str(theirs.fileno()), self._folder]
        try:
            with theirs:
                self._nursery = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=os.environ | {"OMP_NUM_THREADS": "1"},
                )
        except OSError:
            os.rmdir(self._folder)  # which the nursery would have deleted
            raise
        if not self._control.poll(START):
            raise WorkerError(f"a process that decodes videos did not start within {START} s")

    def _end(self) -> tuple[int, float]:
        """End the process; its status, and the processor time that it had."""
        self._alive, self._asked = False, None
        try:
            assert self._pipe is not None
            self._pipe.close()
            self._control.send("end")
            status, ran = self._control.recv()
            shutil.rmtree(self._folder, ignore_errors=True)
            os.makedirs(self._folder)
        except (OSError, EOFError):  # the nursery has been ended, too
            self.close()
            return signal.SIGKILL, 0.0
        except BaseException:  # nobody knows how far it is
            self.close()
            raise
        return int(status), float(ran)

    def _receive(self, seconds: float) -> Any:
        """The next message, within so many seconds. Raises Lost, with the reason where there is one."""
        assert self._pipe is not None
        try:
            if not self._comes(seconds):
                raise Lost(f"did not come further within {seconds:g} s")
            message = self._pipe.recv()
            if isinstance(message, str):
                raise Lost(message)
            return message._replace(content=self._pipe.recv_bytes()) if isinstance(message, Views) else message
        except (EOFError, OSError):
            raise Lost from None

    def _comes(self, seconds: float) -> bool:
        """Whether a message comes within so many seconds in which the process could run: a decoder gives way, so that
        on a busy machine it waits most of the time, which is no fault of its video."""
        assert self._pipe is not None
        glance = min(GLANCE, seconds)
        if self._pipe.poll(glance):
            return True
        began, queued = time.monotonic() - glance, seconds_queued(self._process)
        left = seconds - glance
        while not self._pipe.poll(left):
            left = seconds - (time.monotonic() - began) + (seconds_queued(self._process) - queued)
            if left < 0.01:  # any process is queued for some microseconds, for which polling would go on without end
                return False
        return True


def _describe(status: int) -> str:
    """How a process has ended."""
    name = describe_exit(os.waitstatus_to_exitcode(status))
    return f"died, {name}" + (", perhaps of too little memory" if name in ("SIGKILL", "SIGABRT") else "")
