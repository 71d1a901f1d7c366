"""A process that decodes: how it starts and ends, and whom a signal reaches meanwhile."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from numbered import Videos, alive, linux, marked_processes_alone_idle, rows
from timesformer.cli import stop
from timesformer.data import decoding, worker, workers
from timesformer.data.workers import Workers
from timesformer.errors import WorkerError

pytestmark = [pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"), linux]


def test_a_signal_to_a_process_that_never_begins_is_not_taken_for_one_to_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fork has the handlers of this process until it sets its own; they write to this process's wakeup descriptor."""
    monkeypatch.setattr(workers, "START", 1)
    monkeypatch.setattr(worker, "GRACE", 0.5)
    marked_processes_alone_idle(monkeypatch, tmp_path)

    def begin(*given: Any) -> None:
        if not list(tmp_path.iterdir()):
            (tmp_path / str(os.getpid())).touch()
            time.sleep(240)
        decoding.decode_batches(*given)

    came: list[int] = []

    def watch(signals: socket.socket) -> None:
        with signals:
            came.extend(iter(lambda: int.from_bytes(signals.recv(1)), 0))

    monkeypatch.setattr(worker, "decode_batches", begin)
    monkeypatch.setattr(stop, "_watch", watch)
    pool = Workers(Videos(), 1)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with stop.stoppable():
        assert rows(pool.batches([[0, 1], [2]])) == [[0, 1], [2]]
        pool.close()
        assert came == []
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


def interrupt_by_another_thread() -> None:
    """The system gives the signal to a thread that does not block it; Python handles it in this one."""
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    thread.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.pthread_kill(thread.ident or 0, signal.SIGINT)
    time.sleep(0.2)
    ended.set()
    thread.join()


@pytest.mark.parametrize("interrupt", [lambda: signal.raise_signal(signal.SIGINT), interrupt_by_another_thread])
def test_ctrl_c_while_processes_start_is_not_lost(interrupt: Callable[[], object]) -> None:
    """Python prints and ignores what a handler raises in the hooks of a fork."""
    os.register_at_fork(before=Once(interrupt))
    pool = Workers(Videos(), 2)
    with pytest.raises(KeyboardInterrupt):
        list(pool.batches([[0], [1]]))
    assert rows(pool.batches([[0], [1]])) == [[0], [1]]
    pool.close()


CANNOT_START = r"^a process that decodes videos cannot be started: {}; use fewer workers \(data\.workers, --workers\)"


@pytest.mark.parametrize(("interrupted", "error"), [(False, WorkerError), (True, KeyboardInterrupt)])
def test_a_process_that_cannot_be_started(
    monkeypatch: pytest.MonkeyPatch, interrupted: bool, error: type[BaseException]
) -> None:
    """Where there are too many; Ctrl-C in that moment is not lost."""
    forked: list[int] = []
    fork = os.fork

    def fail_later() -> int:
        if forked:
            if interrupted:
                signal.raise_signal(signal.SIGINT)
            raise BlockingIOError(11, "Resource temporarily unavailable")
        pid = fork()
        forked.append(pid)
        return pid

    pool = Workers(Videos(), 2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", fail_later)
        with pytest.raises(
            error, match=None if interrupted else CANNOT_START.format("Resource temporarily unavailable")
        ):
            list(pool.batches([[0], [1]]))
    assert not alive(forked[0])
    assert rows(pool.batches([[0], [1]])) == [[0], [1]]
    pool.close()


def test_a_thread_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads count as processes do."""

    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = Workers(Videos(), 2)
    with monkeypatch.context() as patch:
        patch.setattr(worker.threading.Thread, "start", fail)
        with pytest.raises(WorkerError, match=CANNOT_START.format("can't start new thread")):
            list(pool.batches([[0], [1]]))
    assert rows(pool.batches([[0], [1]])) == [[0], [1]]
    pool.close()


class Noting(queue.SimpleQueue[worker.Message]):
    """Which messages have come, through all threads."""

    def __init__(self) -> None:
        self.came: list[object] = []

    def put(self, *given: Any, **named: Any) -> None:
        super().put(*given, **named)
        self.came.append(given)


def test_a_process_that_cannot_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has died between two videos, that is, so no video is to blame. The others end too."""
    pool = Workers(Videos(), 2)
    pool._messages = messages = Noting()
    made = pool.batches([[number] for number in range(40)])
    next(made)
    processes = [one.process for one in pool._workers]
    until = time.monotonic() + 60
    while len(messages.came) < 2 * 5:  # a key and a batch of each that has been asked for
        assert time.monotonic() < until
        time.sleep(0.01)

    def fail() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", fail)
        os.kill(processes[0].pid, signal.SIGKILL)
        with pytest.raises(WorkerError, match=CANNOT_START.format("Resource temporarily unavailable")):
            list(made)
    assert not any(process.is_alive() for process in processes)
    pool.close()


class Once:
    """A function that does something the first time it is called."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act: Callable[[], object] | None = act

    def __call__(self) -> None:
        act, self.act = self.act, None
        if act is not None:
            act()


def test_a_process_that_dies_and_leaves_one_that_it_started(tmp_path: Path) -> None:
    """Which keeps the socket open, so that it does not end."""
    end = tmp_path / "end"

    def die(key: int) -> None:
        if os.fork():
            os._exit(3)
        until = time.monotonic() + 120
        while not end.exists():
            if time.monotonic() > until:
                (tmp_path / "waited for").touch()
                break
            time.sleep(0.05)
        os._exit(0)

    with pytest.raises(WorkerError, match=r"^video 5: the process that decodes it died, exit code 3"):
        list(Workers(Videos(die), 1).batches([[5]]))
    assert not (tmp_path / "waited for").exists()
    end.touch()


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """Killed, it can end none itself: one of them waits for work, one is locked up and holds the interpreter's lock."""
    program = (
        "from pathlib import Path; import os, sys; sys.path[:0] = sys.argv[2:]\n"
        "import numbered\n"
        "from timesformer.data.workers import Workers\n"
        "def read(key):\n"
        "    (Path(sys.argv[1]) / str(os.getpid())).touch()\n"
        "    numbered.lock_up(key)\n"
        "list(Workers(numbered.Videos(read), 2).batches([[4], [5]]))\n"
    )
    tests = Path(__file__).parent.parent
    process = subprocess.Popen([sys.executable, "-c", program, tmp_path, tests])
    until = time.monotonic() + 240
    while len(started := list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while any(alive(int(path.name)) for path in started):
        assert time.monotonic() < until
        time.sleep(0.02)
