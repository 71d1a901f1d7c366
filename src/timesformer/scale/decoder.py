"""A process that reads videos for a Ray worker, so that what a video does to it costs one row.

`python -m timesformer.scale.decoder DESCRIPTOR PARENT` is that process. It is started fresh, not forked: a fork would
have the sockets and the locks of Ray's threads. It stays for as many videos as it survives; a video that crashes it,
takes too long or too much memory is tried again in another process, as often as the limits say.
"""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from timesformer.errors import SettingError, TimesformerError, VideoError, one_line

if TYPE_CHECKING:
    from timesformer.scale.work import About, Facts, Piece, Work

START = 300  # seconds that a process has to import what it needs
LIFETIME = 10_000  # videos of a process; decoders leave some 3 kB a video in its heap, which would add up


class Limits(NamedTuple):
    """What a video may cost. retries: further tries after a crash or a limit; seconds: of wall time until its next
    piece comes; memory: GB (1e9 bytes) of private memory that decoding it may take (Linux)."""

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
    """A process has ended without a word, or was ended at a limit."""


class Decoder:
    """Such a process, and the next one when it is lost; for one run after the other."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="timesformer-", ignore_cleanup_errors=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._read, self._cpu, self._work = 0, 0.0, b""

    def read(self, work: bytes, video: bytes) -> Iterator[Views | End]:
        """The pieces of a video, each once however many tries it takes, and its end.

        work: a pickled pair, `Work` and `About`. video: another, of what `Work.read` takes as source, or the URL of an
        object in a store, and the cells of its list. They are pickled so that only the process needs torch. Raises the
        error of a store that does not answer, and SettingError for settings that no video allows.
        """
        sent, lost, cpu = 0, 0, 0.0
        while True:
            try:
                for number, message in enumerate(self._ask(work, video)):
                    if isinstance(message, End):
                        yield message._replace(cpu=message.cpu + cpu, lost=lost)
                        return
                    if number == sent:  # of an earlier try otherwise
                        sent += 1
                        yield message
            except Lost as error:
                lost += 1
                cpu += self.close()
                if lost > self.limits.retries:
                    tries = f" in {lost} tries" if lost > 1 else ""
                    yield End(f"the process that decodes it {error}{tries}", cpu, 0, lost)
                    return

    def close(self) -> float:
        """End the process; returns the processor time that it had and has not told of."""
        process, self._process = self._process, None
        if process is None:
            return 0.0
        before = _children()
        process.kill()
        process.wait()
        self._pipe.close()
        for path in Path(self._folder.name).iterdir():
            path.unlink()
        return max(0.0, _children() - before - self._cpu)

    def _ask(self, work: bytes, video: bytes) -> Iterator[Views | End]:
        if self._process is None or self._read >= LIFETIME:
            self.close()
            self._start()
        self._read += 1
        with suppress(OSError):  # its end is learnt by listening
            self._pipe.send((None if work == self._work else work, video))
        self._work = work
        try:
            while True:
                message = self._receive(self.limits.seconds)
                if isinstance(message, Exception):
                    raise message
                if isinstance(message, End):
                    self._cpu += message.cpu
                    yield message
                    return
                yield message
        except GeneratorExit:
            if not isinstance(message, End):  # what it sends yet is of no use
                self.close()
            raise

    def _start(self) -> None:
        ours, theirs = Pipe()
        words = [sys.executable, "-W", "ignore", "-m", "timesformer.scale.decoder", str(theirs.fileno())]
        lasting = threading.current_thread() is threading.main_thread()
        words.append(str(os.getpid() if lasting else 0))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": self._folder.name}
        with theirs:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=environment
            )
        self._pipe: Connection[Any, Any] = ours
        self._read, self._cpu, self._work = 0, 0.0, b""
        self._pipe.send((self._folder.name, self.limits.memory))
        if not self._pipe.poll(START) or self._receive(0) is not None:
            raise TimesformerError(f"a process that decodes videos did not start within {START} s")

    def _receive(self, seconds: float) -> Any:
        """The next message, within so many seconds. Raises Lost."""
        try:
            if not self._pipe.poll(seconds):
                raise Lost(f"did not come further within {seconds:g} s")
            message = self._pipe.recv()
            if isinstance(message, str):
                raise Lost(message)
            return message._replace(content=self._pipe.recv_bytes()) if isinstance(message, Views) else message
        except (EOFError, OSError):
            assert self._process is not None
            raise Lost(self._describe(self._process)) from None

    def _describe(self, process: subprocess.Popen[bytes]) -> str:
        import signal

        try:
            code = process.wait(10)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"died, {name}" + (", perhaps of too little memory" if name in ("SIGKILL", "SIGABRT") else "")


def _children() -> float:
    """Processor time of the processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _size(source: Any) -> int:
    """Bytes of a file, or of all files of a folder; 0 of what is elsewhere."""
    path = getattr(source, "path", source)
    try:
        if os.path.isdir(path):
            return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
        return os.path.getsize(path)
    except (OSError, ValueError):
        return 0


def main() -> None:
    """What the process does."""
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    folder, memory = pipe.recv()
    _prepare(int(sys.argv[2]), memory)
    pipe.send(None)
    with suppress(EOFError, OSError):  # the parent has ended
        while True:
            given, video = pipe.recv()
            if given is not None:
                work, about = pickle.loads(given)
            try:
                _decode(pipe, work, about, Path(folder), *pickle.loads(video))
            except Exception as error:
                message = _message(error, memory)
                pipe.send(message)
                if isinstance(message, str):
                    os._exit(1)


def _prepare(parent: int, memory: float) -> None:
    """End with the parent, give way to models, and keep to the limit."""
    import torch

    import timesformer.scale.work  # before giving way: a busy machine would take minutes
    from timesformer.data.decoding import follow_parent

    assert timesformer.scale.work
    follow_parent(parent or None)
    torch.set_num_threads(1)
    os.nice(10)
    if not sys.platform.startswith("linux"):
        return
    # Where the whole machine runs out of memory, this process is the one to go.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Private memory alone is limited, beside what is there already: libraries and files that are mapped do not count.
    status = Path("/proc/self/status").read_text()
    there = int(next(line for line in status.splitlines() if line.startswith("VmData")).split()[1]) * 1024
    limit = there + int(memory * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _decode(
    pipe: Connection[Any, Any], work: Work, about: About, folder: Path, source: Any, cells: dict[str, str]
) -> None:
    """Send the pieces of a video, and its end."""
    from timesformer.scale.stores import fetch, in_store

    began, fetched, size, problem = time.process_time(), None, 0, None
    try:
        if isinstance(source, str) and in_store(source):
            source = fetched = fetch(source, folder)
        size = _size(source)
        for piece in work.read(about, source, cells):
            _send(pipe, piece)
    except VideoError as error:
        problem = error.reason
    finally:
        if fetched is not None:
            fetched.unlink(missing_ok=True)
    pipe.send(End(problem, time.process_time() - began, size))


def _send(pipe: Connection[Any, Any], piece: Piece) -> None:
    views = piece.views_VCTSS.contiguous()
    pipe.send(Views(piece.facts, tuple(views.shape), b""))
    pipe.send_bytes(views.view(-1).numpy().data)


def _message(error: Exception, memory: float) -> Any:
    """What to tell the parent: an error that stops the run, or else how the video has ended this process."""
    from timesformer.device import is_out_of_memory

    if is_out_of_memory(error):
        return f"ran out of its {memory:g} GB of memory"
    if isinstance(error, TimesformerError) and not isinstance(error, VideoError):
        return error
    return f"failed, {type(error).__name__}: {one_line(error)[:200]}"


if __name__ == "__main__":
    from timesformer.scale import decoder

    decoder.main()  # not this module's: what it sends is of classes that the other end has, too
