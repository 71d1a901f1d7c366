"""`timesformer timeline` of live streams: rows as of a file, files that are complete, one line for what cannot be."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from commands import Command, assert_one_line
from started import Started, wait_until
from streams import PATIENT, Clock, Send, piped, served
from videos import write

X264 = {"crf": "12", "preset": "veryfast", "g": "12", "bf": "2"}
PLAIN = ("--device", "cpu", "--engine", "eager", "--precision", "fp32", "--window", "0.4")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("live") / "a.ts", 60, options=X264)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is; servers here send faster than any camera."""
    monkeypatch.setattr("timesformer.inference.live_job.LIMITS", PATIENT)
    monkeypatch.setattr("timesformer.inference.live.QUEUE", 1000)


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def assert_same(found: list[dict[str, Any]], expected: list[dict[str, Any]], name: str) -> None:
    assert [row["video"] for row in found] == [name] * len(expected)
    for one, other in zip(found, expected, strict=True):
        assert {**one, "video": "", "score": 0} == {**other, "video": "", "score": 0}
        assert one["score"] == pytest.approx(other["score"], rel=0, abs=1e-5)


def test_standard_input_gives_the_rows_of_the_file(
    command: Command, run: Path, recording: Path, tmp_path: Path
) -> None:
    """In a process of its own; a pipe in this one, into a file of each kind."""
    expected = rows_of(command("timeline", run, recording, "--out", "-", *PLAIN).out)
    assert len(expected) == 11
    with piped(recording.read_bytes()) as pipe:
        process = Started("timeline", run, "-", "--out", "-", *PLAIN, streams={0: int(Path(pipe).name)})
        printed, errors = process.communicate()
    assert process.returncode == 0, errors
    assert_same(rows_of(printed), expected, "<stdin>")
    last = errors.splitlines()[-1]
    assert last.startswith("live: 11 windows, latency ")
    assert last.endswith(" s (p95); 0 frames dropped, 0 reconnections")
    with piped(recording.read_bytes()) as pipe:
        result = command("timeline", run, pipe, "--out", tmp_path / "a.jsonl", *PLAIN)
    assert (result.code, result.out) == (0, "")
    assert_same(rows_of((tmp_path / "a.jsonl").read_text()), expected, pipe)
    with piped(recording.read_bytes()) as pipe:
        assert command("timeline", run, pipe, "--out", tmp_path / "a.parquet", "--scores", *PLAIN).code == 0
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert table["end_s"].to_pylist() == [row["end_s"] for row in expected]
    assert "score left" in table.column_names
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_file_complete(run: Path, recording: Path, tmp_path: Path, number: int) -> None:
    """While it waits for more of a pipe."""
    out, part = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.part"
    with piped(recording.read_bytes(), keep_open=True) as pipe:
        ours = pipe.replace("/dev", f"/proc/{os.getpid()}")
        process = Started("timeline", run, ours, "--out", out, *PLAIN)
        wait_until(lambda: part.exists() and part.read_bytes().count(b"\n") >= 9, process)
        os.kill(process.pid, number)
        *_, report, last = process.communicate()[1].splitlines()
    assert process.returncode == 130
    assert last == "timesformer: stopped"
    assert report.startswith("live: ")
    rows = rows_of(out.read_text())
    assert [row["start_s"] for row in rows] == pytest.approx([0.2 * k for k in range(len(rows))])
    assert len(rows) >= 9
    assert not part.exists()


SLOW = """
import sys, threading, time, types
from timesformer.cli import stop
from timesformer.cli.main import main
from timesformer.inference import timeline_file

begun, write = threading.Event(), timeline_file.write_csv

def slow(*given):
    begun.set()
    time.sleep(1)
    write(*given)

timeline_file.write_csv = slow
stop.time = types.SimpleNamespace(sleep=lambda _: begun.wait(240))  # the time of grace is over as soon as it writes
main()
"""


def test_a_file_that_takes_long_is_finished(run: Path, recording: Path, tmp_path: Path) -> None:
    out, part, program = tmp_path / "rows.csv", tmp_path / "rows.csv.part", tmp_path / "slow.py"
    program.write_text(SLOW)
    with piped(recording.read_bytes(), keep_open=True) as pipe:
        ours = pipe.replace("/dev", f"/proc/{os.getpid()}")
        process = Started("timeline", run, ours, "--out", out, *PLAIN, program=program)
        wait_until(lambda: part.exists() and part.read_bytes().count(b"\n") >= 9, process)
        os.kill(process.pid, signal.SIGTERM)
        process.communicate()
    assert process.returncode == 130
    assert len(out.read_text().splitlines()) >= 10
    assert not part.exists()


def test_the_rows_of_a_job_that_was_killed_become_its_file(
    command: Command, run: Path, recording: Path, tmp_path: Path
) -> None:
    out, part = tmp_path / "rows.csv", tmp_path / "rows.csv.part"
    with piped(recording.read_bytes(), keep_open=True) as pipe:
        words = ("timeline", run, pipe.replace("/dev", f"/proc/{os.getpid()}"), "--out", out, *PLAIN)
        process = Started(*words)
        wait_until(lambda: part.exists() and part.read_bytes().count(b"\n") >= 9, process)
        process.kill()
        process.communicate()
        with part.open("ab") as stream:
            stream.write(b'{"video": ')  # what a power failure leaves
        rows = part.read_bytes().count(b"\n")
        assert_one_line(command(*words), "has rows of a job that was stopped; resume it (--resume, resume=True)")
        for _ in range(2):
            result = command(*words, "--resume")
            assert (result.code, result.out) == (0, "")
            last = result.err.splitlines()[-1]
            assert last == f"live: the file is complete with the {rows} windows that it had"
            assert len(out.read_text().splitlines()) == rows + 1
            assert not part.exists()


def test_a_stream_that_is_lost_keeps_its_rows(
    command: Command, run: Path, recording: Path, tmp_path: Path, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    expected = rows_of(command("timeline", run, recording, "--out", "-", *PLAIN).out)
    # The first connection is of the question whether the server says how long it is.
    with served(recording.read_bytes(), recording.read_bytes(), over=clock.skip) as url:
        result = command("timeline", run, url, "--out", tmp_path / "a.jsonl", *PLAIN)
    assert result.code == 2
    *_, report, problem = result.err.splitlines()
    assert report.startswith("live: ")
    assert problem.startswith(f"timesformer: {url}: lost: ")
    assert problem.endswith("; it did not come back within 120 seconds")
    *rows, last = rows_of((tmp_path / "a.jsonl").read_text())
    assert_same(rows, expected, url)
    assert last == {"video": url, "problem": problem.removeprefix(f"timesformer: {url}: ")}


def test_raw_video(command: Command, run: Path) -> None:
    shown = ("--size", "32x24", "--fps", "10", "--pixel-format", "gray")
    with piped(bytes(32 * 24 * 12)) as pipe:
        result = command("timeline", run, pipe, "--out", "-", *PLAIN, *shown, "--end", "1")
    rows = rows_of(result.out)
    assert [(row["start_s"], row["end_s"]) for row in rows] == [(0, 0.4), (0.2, 0.6), (0.4, 0.8), (0.6, 1)]


def test_what_never_starts_is_one_line(
    command: Command, run: Path, tmp_path: Path, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves no file."""
    leave = threading.Event()

    def silent(send: Send) -> None:
        leave.wait(120)

    def refused(*words: object) -> str:
        result = command("timeline", run, *words, "--out", tmp_path / "a.jsonl", *PLAIN)
        assert_one_line(result)
        assert not list(tmp_path.iterdir())
        return next(line for line in result.err.splitlines() if line.startswith("timesformer: "))

    with served(silent) as url, monkeypatch.context() as patch:
        patch.setattr("timesformer.inference.live_job.LIMITS", PATIENT._replace(start=1))
        patch.setattr("timesformer.video.live.SLACK", 120.0)  # FFmpeg gives it up
        assert refused(url, "--live") == (
            f"timesformer: {url}: cannot be opened as a live stream: no video within 1 seconds"
        )
        leave.set()
    with piped(b"") as pipe:
        assert "cannot be opened as a live stream" in refused(pipe)
    assert "cannot be opened as a camera: No such file or directory; there are" in refused("97")
    assert "expected WIDTHxHEIGHT, such as 640x480" in refused("-", "--size", "640")
    assert "raw video requires size, fps and pixel format" in refused("-", "--size", "64x48")
    assert "--size, --fps and --pixel-format require a camera" in refused("a.mp4", "--fps", "25")
    assert "--live: 2 videos; a live stream is read alone" in refused("a.mp4", "b.mp4", "--live")
    assert "live: a.mp4; expected a camera, the URL of a server" in refused("a.mp4", "--live")
    result = command("timeline", run, "rtsp://camera", "--precision", "int8")
    assert_one_line(result, "--precision int8 requires files; rtsp://camera is live")
    assert "start is 1; a live stream begins" in refused("udp://127.0.0.1:9", "--start", "1")
