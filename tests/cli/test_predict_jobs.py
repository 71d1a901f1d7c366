"""`timesformer predict --list --shard --out FILE --resume`: many videos, killed and resumed."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import threading
from pathlib import Path

import pyarrow.parquet
import pytest

from commands import Command, assert_one_line
from started import Started, wait_until
from timesformer.files import unescape

WORDS = ("--workers", 0, "--device", "cpu", "--top", 1)


@pytest.fixture
def listed(bars: Path, tmp_path: Path) -> list[str]:
    """Paths as they are listed: one twice, one spelled oddly, one that is not UTF-8, two that cannot be read."""
    good = str(bars / "test" / "left" / "0.mp4")
    latin = tmp_path / "caf\udce9.mp4"
    shutil.copy(good, latin)
    (tmp_path / "empty.mp4").touch()
    odd = f"{bars}/test//right/../right/0.mp4"
    return [good, str(tmp_path / "empty.mp4"), odd, good, str(latin), str(tmp_path / "none.mp4")]


@pytest.fixture
def file(listed: list[str], tmp_path: Path) -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\n\n".join(map(os.fsencode, listed)) + b"\r\n")
    return path


def test_rows_of_a_list_in_every_format(
    command: Command, run: Path, listed: list[str], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", run, "--list", file, *WORDS)
    expected = [json.loads(line) for line in command(*words, "--out", "-").out.splitlines()]
    assert [row["video"] for row in expected] == listed
    assert [row.get("problem") for row in expected] == [None, "the file is empty", None, None, None, "no such file"]
    assert expected[0] == expected[3]
    for suffix in ("jsonl", "csv", "parquet"):
        out = tmp_path / f"rows.{suffix}"
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
        result = command("predict", run, "--list", "-", *WORDS, "--out", out, "--resume")
        assert_one_line(result, "2 of 6 videos cannot be read")
        assert result.out == ""
        last = next(line for line in result.err.splitlines() if line.startswith("done: "))
        assert re.fullmatch(rf"done: 6 videos, 2 unreadable, [0-9.]+ videos/s; rows in {out}", last)
        if suffix == "jsonl":
            assert [json.loads(line) for line in out.read_text().splitlines()] == expected
        elif suffix == "csv":
            with out.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
                rows = list(csv.DictReader(stream))
            assert [row["video"] for row in rows] == listed
            assert [row["problem"] or None for row in rows] == [row.get("problem") for row in expected]
            best = [one["predictions"][0] if one["predictions"] else None for one in expected]
            assert [row["label_1"] or None for row in rows] == [one and one["label"] for one in best]
        else:
            rows = pyarrow.parquet.read_table(out).to_pylist()
            assert [unescape(row["video"]) for row in rows] == listed
            for row, wanted in zip(rows, expected, strict=True):
                assert (row["predictions"], row["problem"]) == (wanted["predictions"], wanted.get("problem"))


def test_lines_that_are_no_urls_and_no_descriptors(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    """Are rows, and the job goes on to its end."""
    good, file, out = str(bars / "test" / "left" / "0.mp4"), tmp_path / "list.txt", tmp_path / "rows.jsonl"
    lines = ["https://[cdn]/a.mp4", good, "/dev/fd/987", good]
    file.write_text("\n".join(lines))
    for words in (("--list", file), lines):
        out.unlink(missing_ok=True)
        assert_one_line(command("predict", run, *words, *WORDS, "--out", out), "2 of 4 videos cannot be read")
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert [row["video"] for row in rows] == lines
        assert [row.get("problem") for row in rows] == [
            "not a URL: 'cdn' does not appear to be an IPv4 or IPv6 address",
            None,
            "cannot be read: No such file or directory",
            None,
        ]


def test_shards_hold_every_row_once(command: Command, run: Path, listed: list[str], file: Path, tmp_path: Path) -> None:
    found: list[str] = []
    for number in range(1, 8):  # more than there are videos, so some get none
        out = tmp_path / f"{number}.jsonl"
        command("predict", run, "--list", file, *WORDS, "--out", out, "--shard", f"{number}/7")
        found += [json.loads(line)["video"] for line in out.read_text().splitlines()]
    assert sorted(found) == sorted(listed)
    refused = command("predict", run, "--list", file, "--out", tmp_path / "a.jsonl", "--shard", "0/7")
    assert_one_line(refused, "shard 0/7: expected I/N with I from 1 to N")


def test_options_that_do_not_go_together(command: Command, run: Path, file: Path, tmp_path: Path) -> None:
    words = ("predict", run, "--list", file)
    for more, message in (
        (("--resume",), "--resume requires --out FILE"),
        (("--resume", "--out", "-"), "--resume requires --out FILE"),
        (("--json", "--out", tmp_path / "a.csv"), "a.csv: expected one of them"),
        (("--out", tmp_path / "a.txt"), "a.txt: expected *.jsonl, *.csv or *.parquet"),
        ((file,), "expected VIDEO... or --list FILE, one of them"),
    ):
        assert_one_line(command(*words, *more), message)
    assert_one_line(command("predict", run), "expected VIDEO... or --list FILE, one of them")


def test_a_complete_job_has_nothing_to_do(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    words = ("predict", run, bars / "test", *WORDS, "--out", tmp_path / "a.parquet", "--resume")
    assert command(*words).code == 0
    content = (tmp_path / "a.parquet").read_bytes()
    again = command(*words)
    assert (again.code, again.err) == (0, f"{tmp_path / 'a.parquet'}: is complete, with the rows of all 4 videos\n")
    assert (tmp_path / "a.parquet").read_bytes() == content
    assert_one_line(command(*words[:-1]), "a.parquet: exists; name another file, or delete it")
    assert_one_line(command(*words, "--top", 2), "made with top 1, not 2")


def test_the_exit_code_is_of_all_rows(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    """Whichever session wrote them: a supervisor resumes until it is 0."""
    (tmp_path / "empty.mp4").touch()
    out = tmp_path / "a.csv"
    words = ("predict", run, tmp_path / "empty.mp4", bars / "test", *WORDS, "--out", out, "--resume")
    assert_one_line(command(*words), "1 of 5 videos cannot be read")
    for _ in range(2):
        again = command(*words)
        assert (again.code, again.err.splitlines()) == (
            2,
            [f"{out}: is complete, with the rows of all 5 videos", "timesformer: 1 of 5 videos cannot be read"],
        )


def test_killed_and_resumed(
    command: Command,
    one_video_at_a_time: Path,
    bars: Path,
    tmp_path: Path,
    late_video: tuple[str, threading.Event],
) -> None:
    """SIGKILL while the job waits for its third video; the first two are not predicted again."""
    url, allowed = late_video
    first = tmp_path / "first.mp4"
    shutil.copy(bars / "test" / "left" / "0.mp4", first)
    videos = [first, bars / "test" / "right" / "0.mp4", url, bars / "test" / "right" / "1.mp4"]
    out, part = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.part"
    words = ("predict", one_video_at_a_time, *videos, *WORDS, "--out", out)
    process = Started(*words)
    wait_until(lambda: part.exists() and part.read_bytes().count(b"\n") >= 2, process)
    process.kill()
    process.communicate()
    kept = part.read_bytes()
    part.write_bytes(kept + b'{"video": "half')
    first.unlink()  # its row is there, so nobody looks for it
    allowed.set()
    assert_one_line(command(*words), "rows.jsonl.part: has rows of a job that was stopped; resume it (--resume")
    resumed = command(*words, "--resume")
    assert resumed.code == 0
    assert "\nresumed: 2 of 4 videos are done\n" in resumed.err
    assert "\ndone: 4 videos (2 now), 0 unreadable, " in resumed.err
    assert out.read_bytes().startswith(kept)
    assert [json.loads(line)["video"] for line in out.read_text().splitlines()] == list(map(str, videos))
