"""`timesformer ...` in processes of their own, forked from one that has imported what training needs: that takes longer
than what most of them do."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from lightning_utilities.core.rank_zero import rank_zero_only

from commands import without_report
from ports import kept_port
from timesformer.cli import stop
from timesformer.cli.main import main
from timesformer.data import check

FORKED = multiprocessing.get_context("forkserver")
PRELOADED = ["timesformer.folds.run", "timesformer.cli.main"]
FORKED.set_forkserver_preload(PRELOADED)


def start_check(_: int) -> None:
    """What a process of `data check` does first: here its parent is the server that has forked it."""
    check._start_process(os.getppid())


class Started:
    """Such a process: as `subprocess.Popen`, whose environment, session and streams are its own, and which may take as
    long to end as a busy machine lets it.

    words: what follows `timesformer`, or of `program`, a file, what follows its name. environment: beside this
    process's. session: whether it leads a session, and a group of processes. killed_after: batches until a training
    run kills itself, and its group if it leads one. streams: descriptors of this process that it has as its own, such
    as {1: the end of a pipe}; `communicate` says nothing of these.
    """

    def __init__(
        self,
        *words: object,
        program: Path | None = None,
        environment: Mapping[str, object] | None = None,
        session: bool = False,
        killed_after: int | None = None,
        streams: Mapping[int, int] | None = None,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp())
        variables = os.environ | {name: str(value) for name, value in (environment or {}).items()}
        # A connection is sent to another process as its descriptor, whatever this is of.
        sent = {number: Connection(os.dup(descriptor)) for number, descriptor in (streams or {}).items()}
        given = (list(map(str, words)), program, variables, session, killed_after, self.folder, sent)
        self.process = FORKED.Process(target=_run, args=given)
        self.process.start()
        for connection in sent.values():
            connection.close()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()

    def communicate(self, timeout: float = 240) -> tuple[str, str]:
        """Wait for its end; what it printed on standard output and standard error."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise TimeoutError(f"{timeout} seconds: {self._said()}")
        return self._said()

    def _said(self) -> tuple[str, str]:
        out, err = ((self.folder / name).read_text() for name in ("out", "err"))
        shutil.rmtree(self.folder)
        return out, err


@contextmanager
def in_processes(count: int, *words: object, killed_after: int | None = None) -> Iterator[list[Started]]:
    """As many as torchrun would start on this machine; one as itself."""
    with kept_port() as port:
        shared = {
            "GROUP_RANK": 0,
            "WORLD_SIZE": count,
            "LOCAL_WORLD_SIZE": count,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "TORCHELASTIC_RUN_ID": "test",
        }
        ranks = ({"RANK": rank, "LOCAL_RANK": rank} for rank in range(count))
        environments = [shared | rank for rank in ranks] if count > 1 else [{}]
        started = [Started(*words, environment=own, killed_after=killed_after) for own in environments]
        try:
            yield started
        finally:
            for process in started:
                process.kill()


def wait_for(file: Path, process: Started) -> None:
    """Until a file is there."""
    wait_until(file.exists, process)


def wait_until(done: Callable[[], object], process: Started) -> None:
    """Until a process has done something; it must not have ended by then."""
    until = time.monotonic() + 240
    while not done():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.01)


def _run(
    words: list[str],
    program: Path | None,
    variables: dict[str, str],
    session: bool,
    killed_after: int | None,
    folder: Path,
    streams: Mapping[int, Connection],
) -> None:
    if session:
        os.setsid()
    os.environ.clear()
    os.environ.update(variables)
    rank_zero_only.rank = int(variables.get("RANK", 0))  # Lightning looks for it when it is imported
    for name, descriptor in (("out", 1), ("err", 2)):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT), descriptor)
    for descriptor, connection in streams.items():
        os.dup2(connection.fileno(), descriptor)
        name, mode = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))[descriptor]
        setattr(sys, name, open(descriptor, mode))  # noqa: SIM115 - a pipe is not the file that the old one was of
    stop.GRACE = 240.0  # a program of its own may shorten it
    if killed_after is not None:
        _kill_after(killed_after, session)
    sys.argv = ["timesformer", *without_report(*words)] if program is None else [str(program), *words]
    if program is None:
        main()
    else:
        runpy.run_path(str(program), run_name="__main__")


def _kill_after(batches: int, group: bool) -> None:
    from timesformer.training.task import ClassificationTask

    step, left = ClassificationTask.training_step, batches

    def torn(self: ClassificationTask, *given: object) -> object:
        nonlocal left
        if not left:
            (os.killpg if group else os.kill)(0 if group else os.getpid(), signal.SIGKILL)
        left -= 1
        return step(self, *given)  # type: ignore[arg-type]

    ClassificationTask.training_step = torn  # type: ignore[method-assign, assignment]
