"""`timesformer timeline`: rows of windows in every format, through any stop."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch

import timesformer
from commands import Command, Result, assert_one_line
from conftest import moving_bar
from started import Started, wait_until
from timesformer.cli.window_lines import WindowLines, clock
from timesformer.errors import SettingError
from timesformer.inference.job_file import JobFile
from timesformer.inference.timeline_job import TimelineJob
from timesformer.video.encode import write_video

WORDS = ("--device", "cpu", "--precision", "fp32", "--window", 0.8, "--stride", 0.3)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """6 s, 2.1 s and 0.5 s at 10 frames a second, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("timelines")
    write_video(folder / "a.mp4", torch.cat([moving_bar(1, 0, 30), moving_bar(-1, 5, 30)], dim=1), 10)
    write_video(folder / "b.mp4", moving_bar(-1, 3, 21), 10)
    write_video(folder / "c.mp4", moving_bar(1, 3, 5), 10)
    (folder / "d.mp4").write_bytes(b"no video")
    return [folder / f"{name}.mp4" for name in "abdc"]


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.out.splitlines()]


def test_what_a_folder_holds_beside_videos_is_counted(
    command: Command, run: Path, videos: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "c.mp4").symlink_to(videos[-1])
    (tmp_path / "a.txt").touch()
    assert command("timeline", run, tmp_path, *WORDS).err.splitlines()[0] == "ignored: 1 .txt"
    assert "ignored" not in command("timeline", run, videos[-1], *WORDS).err


def test_rows_in_every_format(command: Command, run: Path, videos: list[Path], tmp_path: Path) -> None:
    words = ("timeline", run, *videos, *WORDS, "--scores")
    shown = command(*words, "--out", "-")
    assert_one_line(shown, "1 of 4 videos cannot be read to their end")
    expected = lines(shown)
    assert [Path(row["video"]).name for row in expected] == ["a.mp4"] * 19 + ["b.mp4"] * 6 + ["d.mp4", "c.mp4"]
    assert [row["start_s"] for row in expected[19:25]] == [0.0, 0.3, 0.6, 0.9, 1.2, 1.3]
    assert [row.get("last") for row in expected[19:]] == [False] * 5 + [True, None, False]
    assert expected[-2].keys() == {"video", "problem"}
    assert expected[-1]["padded"] is True
    predictor = timesformer.load(run, "cpu", precision="fp32")
    for row in expected[:25:5]:
        scores = predictor.scores(row["video"], start=row["start_s"], end=row["end_s"])
        assert row["scores"] == pytest.approx(dict(zip(("left", "right"), scores.tolist(), strict=True)), abs=1e-5)
        assert row["score"] == max(row["scores"].values()) == row["scores"][row["label"]]
    for suffix in ("jsonl", "csv", "parquet"):
        out = tmp_path / f"rows.{suffix}"
        result = command(*words, "--out", out)
        assert_one_line(result, "1 of 4 videos")
        assert re.search(rf"done: 4 videos, 1 unreadable, 26 windows, .* times real time; rows in {out}", result.err)
        assert result.out == ""
        if suffix == "jsonl":
            assert [json.loads(line) for line in out.read_text().splitlines()] == expected
        elif suffix == "csv":
            with out.open(newline="") as stream:
                rows = list(csv.DictReader(stream))
            names = ["video", "start_s", "end_s", "padded", "last", "label", "score", "problem"]
            assert list(rows[0]) == [*names, "score left", "score right"]
            assert [row["start_s"] for row in rows] == [str(row.get("start_s", "")) for row in expected]
            assert [row["padded"] for row in rows][-2:] == ["", "true"]
            assert float(rows[0]["score left"]) == expected[0]["scores"]["left"]
            assert rows[-2]["problem"] == expected[-2]["problem"]
        else:
            rows = pyarrow.parquet.read_table(out).to_pylist()
            for found, wanted in zip(rows, expected, strict=True):
                assert {name: found[name] for name in ("video", "start_s", "end_s", "last", "label", "problem")} == {
                    name: wanted.get(name) for name in ("video", "start_s", "end_s", "last", "label", "problem")
                }
                assert found["score right"] == wanted.get("scores", {}).get("right")


def test_tabs_and_a_part(command: Command, run: Path, videos: list[Path]) -> None:
    result = command("timeline", run, videos[0], *WORDS, "--start", "0:01", "--end", "2.1")
    assert result.code == 0
    head, *rows = [line.split("\t") for line in result.out.splitlines()]
    assert head == ["video", "start_s", "end_s", "padded", "last", "label", "score", "problem"]
    assert [row[1:5] for row in rows] == [["1.0", "1.8", "false", "false"], ["1.3", "2.1", "false", "false"]]


def test_lines_of_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    printed = WindowLines(["left", "x" * 60], 2)
    row = {"start_s": 3661.25, "end_s": 3662.0, "padded": False, "last": True, "label": "left", "score": 0.5}
    printed.add({"video": "a.mp4", **row})
    printed.add({"video": "a.mp4", **row, "label": "x" * 60, "last": False, "padded": True})
    printed.add({"video": "b.mp4", "problem": "damaged"})
    name, head, first, second, other, problem = capsys.readouterr().out.splitlines()
    assert (name, other, problem) == ("a.mp4", "b.mp4", "  (damaged)")
    assert head.split() == ["start", "end", "label", "score"]
    assert first.split() == ["1:01:01.250", "1:01:02.000", "left", "0.500", "last"]
    assert second.endswith("x…  0.500  padded")
    assert len(second) <= 80
    assert (clock(59.9996), clock(59.4, 0), clock(3599.5, 0)) == ("0:01:00.000", "0:00:59", "1:00:00")


@pytest.mark.parametrize(("suffix", "smooth"), [("jsonl", 0.0), ("csv", 0.5), ("parquet", 0.35)])
def test_a_job_cut_at_any_byte_ends_with_the_same_file(
    command: Command, run: Path, videos: list[Path], tmp_path: Path, suffix: str, smooth: float
) -> None:
    predictor = timesformer.load(run, "cpu", precision="fp32")
    predictor.engine.views = 5

    def finish(out: Path) -> tuple[bytes, bytes]:
        job = TimelineJob(videos, out, window=0.8, stride=0.3, smooth=smooth, scores=True, resume=True)
        for _ in job.run(predictor):
            pass
        assert job.complete is False or out.exists()
        assert not out.with_name(f"{out.name}.part").exists()
        return out.read_bytes(), out.with_name(f"{out.name}.job").read_bytes()

    whole = tmp_path / f"whole.{suffix}"
    expected = finish(whole)
    rows = tmp_path / "rows.jsonl"
    all_lines = [*TimelineJob(videos, rows, window=0.8, stride=0.3, smooth=smooth, scores=True).run(predictor)]
    content = rows.read_bytes()
    assert len(all_lines) == len(content.splitlines()) == 27
    for size in range(0, len(content), 211):
        out = tmp_path / f"{size}.{suffix}"
        out.with_name(f"{out.name}.part").write_bytes(content[:size])
        about = json.loads(whole.with_name(f"{whole.name}.job").read_text())
        out.with_name(f"{out.name}.job").write_text(json.dumps(about))
        assert finish(out) == expected


def test_killed_at_random_moments(
    run: Path, videos: list[Path], tmp_path: Path, late_video: tuple[str, threading.Event]
) -> None:
    """By SIGKILL; the last time it is let alone, and only then it is sent its last video."""
    url, allowed = late_video
    words = ("timeline", run, *videos[:2], url, *WORDS, "--stride", 0.01, "--resume", "--out")
    whole, out, part = (tmp_path / name for name in ("whole.csv", "killed.csv", "killed.csv.part"))
    for more in (0, 5_000, 10_000):
        process = Started(*words, out)
        size = part.stat().st_size if part.exists() else 0
        wait_until(lambda size=size + more: part.exists() and part.stat().st_size > size, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    allowed.set()
    for file in (out, whole):
        process = Started(*words, file)
        errors = process.communicate()[1]
        assert process.returncode == 0, errors
    assert out.read_bytes() == whole.read_bytes()
    assert len(whole.read_text().splitlines()) == 1 + 521 + 131 + 21


def test_what_is_complete_is_kept_where_the_disk_is_full(
    command: Command, run: Path, videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, add = tmp_path / "rows.jsonl", JobFile.add
    words = ("timeline", run, videos[0], *WORDS, "--out", out)

    def full(self: JobFile[Any], row: dict[str, Any]) -> None:
        if row["start_s"] > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(JobFile, "add", full)
        assert_one_line(command(*words), "No space left on device")
    assert not out.exists()
    kept = out.with_name("rows.jsonl.part").read_text().splitlines()
    assert [json.loads(line)["start_s"] for line in kept] == [0.0, 0.3, 0.6, 0.9]
    assert_one_line(command(*words), "rows.jsonl.part: has rows of a job that was stopped; resume it")
    resumed = command(*words, "--resume")
    assert resumed.code == 0
    assert "19 windows (15 now)" in resumed.err
    assert out.read_text().splitlines()[:4] == kept
    again = command(*words, "--resume")
    assert again.code == 0
    assert "is complete, with the rows of all 1 videos" in again.err
    assert_one_line(command(*words, "--resume", "--smooth", 1), "made with smooth 0.0, not 1.0")


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (("--stride", 0), "stride is 0; expected seconds, at least 1e-06"),
        (("--window", -2), "window is -2; expected seconds, at least 1e-06"),
        (("--smooth", -1), "smooth is -1; expected seconds, 0 or more"),
        (("--start", 3, "--end", 2), "end is 2; expected seconds after the start, which is 3"),
        (("--out", "rows.xyz"), "rows.xyz: expected"),
        (("--out", "none/rows.csv"), "none/rows.csv: no such folder none"),
        (("--resume",), "--resume requires --out FILE"),
        (("--scores",), "--scores requires --out"),
        (("--end", 60), "1 of 1 videos cannot be read to their end"),
    ],
)
def test_bad_input(command: Command, run: Path, videos: list[Path], words: tuple[object, ...], because: str) -> None:
    assert_one_line(command("timeline", run, videos[0], "--device", "cpu", *words), because)


def test_a_video_that_comes_twice(videos: list[Path]) -> None:
    with pytest.raises(SettingError, match=r"videos: .*a\.mp4 more than once"):
        TimelineJob([videos[0], videos[0]])
