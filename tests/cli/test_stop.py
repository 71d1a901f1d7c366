"""Ctrl-C and SIGTERM end a command within ten seconds and leave no process, even where a decoder hangs for ever."""

from __future__ import annotations

import os
import runpy
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import SMALL, SMALL_PROBE
from started import Started, wait_for
from timesformer.cli import stop

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found in /proc")
LOCKED_UP = Path(__file__).parents[2] / "benchmarks" / "locked_up.py"
processes_of = runpy.run_path(str(LOCKED_UP.with_name("stop.py")))["members"]  # of a group, those that have not ended


def assert_ends(process: Started, number: int, *, group: bool = False) -> str:
    """What it printed on standard error."""
    (os.killpg if group else os.kill)(process.pid, number)
    errors = process.communicate()[1]
    assert process.returncode == 130, errors
    until = time.monotonic() + 60  # the system ends them with their parent
    while time.monotonic() < until and processes_of(process.pid):
        time.sleep(0.02)
    assert not processes_of(process.pid)
    return errors


@pytest.mark.parametrize(
    ("verb", "number", "group"),
    [
        ("train", signal.SIGTERM, False),
        ("train", signal.SIGINT, True),
        ("probe", signal.SIGTERM, True),
        ("predict", signal.SIGINT, False),
        ("predict itself", signal.SIGTERM, False),
    ],
)
def test_a_decoder_that_hangs_keeps_no_command(
    bars: Path, run: Path, tmp_path: Path, verb: str, number: int, group: bool
) -> None:
    """Also where the command itself decodes."""
    videos = sorted((bars / "test").rglob("*.mp4"))
    words = {
        "train": ["train", "--data", bars, "--recipe", "demo", "--out", tmp_path / "run", *SMALL, "data.workers=2"],
        "probe": [
            *("train", "--data", bars, "--recipe", "probe", "--init", run, "--out", tmp_path / "run"),
            *(*SMALL_PROBE, "data.workers=2", "preprocessing.window=1"),  # else its plan opens a video, and hangs
        ],
        "predict": ["predict", run, *videos, "--workers", "2", "--device", "cpu"],
        "predict itself": ["predict", run, videos[0], "--workers", "0", "--device", "cpu"],
    }
    assert stop.GRACE < 10  # what else it takes is the machine's
    mark = tmp_path / "hangs"
    process = Started(mark, 2, *words[verb], program=LOCKED_UP, session=True)
    wait_for(mark, process)
    *_, before, last = ["", *assert_ends(process, number, group=group).splitlines()]
    assert last == "timesformer: stopped" + ("; there is no checkpoint yet" if verb in ("train", "probe") else "")
    assert "stopped" not in before
    assert not (tmp_path / "run").exists()


def ignores_ctrl_c(pid: int) -> bool:
    """As a process that decodes does when it is ready to."""
    status = Path(f"/proc/{pid}/status").read_text()
    ignored = next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn:"))
    return bool(int(ignored, 16) >> (signal.SIGINT - 1) & 1)


def test_a_check_ends_processes_that_are_stopped(bars: Path, tmp_path: Path) -> None:
    """Of more videos than can be checked before both are stopped."""
    (tmp_path / "train" / "left").mkdir(parents=True)
    for number in range(1000):
        os.link(bars / "train" / "left" / "0.mp4", tmp_path / "train" / "left" / f"{number}.mp4")
    process = Started("data", "check", tmp_path, "--workers", "2", session=True)
    stopped: set[int] = set()
    until = time.monotonic() + 240
    try:
        while len(stopped) < 2:
            assert time.monotonic() < until
            time.sleep(0.02)
            for pid in set(processes_of(process.pid)) - stopped:
                with suppress(OSError):  # it has ended meanwhile
                    if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text() and ignores_ctrl_c(pid):
                        os.kill(pid, signal.SIGSTOP)
                        stopped.add(pid)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    assert assert_ends(process, signal.SIGTERM).splitlines()[-1] == "timesformer: stopped"


@pytest.mark.parametrize("said", [False, True])
def test_a_stop_is_said_once(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], said: bool) -> None:
    """By the command, or where that takes too long to end, or never says it, by what ends it."""
    ended: list[int] = []
    monkeypatch.setattr(stop, "GRACE", 0.0)
    monkeypatch.setattr(stop.os, "_exit", ended.append)
    stop._said.clear()
    if said:
        stop.say_stopped(KeyboardInterrupt())
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.send(bytes([signal.SIGTERM]))
    stop._watch(ours)
    assert capfd.readouterr().err == "timesformer: stopped\n"
    assert ended == [130]


def test_what_has_to_be_whole_is_finished_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long after the time of grace, and whatever signals come meanwhile."""
    ended: list[int] = []
    monkeypatch.setattr(stop, "GRACE", 0.0)
    monkeypatch.setattr(stop.os, "_exit", ended.append)
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.send(bytes([signal.SIGTERM]))
    watching = threading.Thread(target=stop._watch, args=(ours,))
    handler = signal.getsignal(signal.SIGINT)

    def finish() -> None:
        with stop.finishing():
            watching.start()
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
            time.sleep(0.3)
            assert not ended

    with pytest.raises(KeyboardInterrupt):
        finish()
    watching.join()
    assert ended == [130]
    assert signal.getsignal(signal.SIGINT) is handler
