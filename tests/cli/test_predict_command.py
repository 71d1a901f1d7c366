"""`timesformer predict` as its users meet it: tables, tabs, JSON, rows as soon as they are known."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import Command, assert_one_line
from conftest import moving_bar
from started import Started
from timesformer.inference.listed import ListedVideos
from timesformer.video.encode import write_video


def test_a_long_path_is_never_cut(
    command: Command, run: Path, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("deep" * 20)
    folder.mkdir()
    shutil.copy(bars / "test" / "left" / "0.mp4", folder / "0.mp4")
    piped = command("predict", run, folder, "--top", 1)
    assert piped.out.splitlines()[1].split("\t")[0] == str(folder / "0.mp4")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    seen = command("predict", run, folder, "--top", 1).out.splitlines()
    assert len(seen) > 2  # the path goes on in the next line
    assert "".join(line.split()[0] for line in seen[1:]) == str(folder / "0.mp4")


def test_the_table_is_printed_when_the_bar_is_gone(
    command: Command, run: Path, bars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would begin at the end of the bar's line otherwise."""
    order: list[str] = []
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setattr("rich.progress.Progress.stop", lambda _: order.append("bar"))
    monkeypatch.setattr("timesformer.cli.answers.Table.end", lambda _: order.append("table"))
    assert command("predict", run, bars / "test", "--workers", 0).code == 0
    assert order == ["bar", "table"]


def test_what_a_folder_holds_beside_videos_is_counted(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.json"):
        (tmp_path / name).touch()
    assert_one_line(command("predict", run, tmp_path), "no videos or image frames; it holds 2 .txt, 1 .json")
    shutil.copy(bars / "test" / "left" / "0.mp4", tmp_path / "0.mp4")
    result = command("predict", run, tmp_path)
    assert result.err.splitlines()[0] == "ignored: 2 .txt, 1 .json"
    assert len(result.out.splitlines()) == 3
    assert "ignored" not in command("predict", run, bars / "test").err


@pytest.mark.parametrize("verb", ["predict", "features", "timeline"])
def test_what_is_ignored_is_said_on_ray_too(
    verb: str, command: Command, run: Path, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(given: object, work: object, find: Callable[[], ListedVideos], *_: object, **__: object) -> None:
        assert find().names == [str(tmp_path / "0.mp4")]

    monkeypatch.setattr("timesformer.cli.on_ray.run", find)
    shutil.copy(bars / "test" / "left" / "0.mp4", tmp_path / "0.mp4")
    (tmp_path / "a.txt").touch()
    result = command(verb, run, tmp_path, "--out", "rows", "--on", "ray")
    assert (result.code, result.err) == (0, "ignored: 1 .txt\n")


def test_predict_goes_on_after_a_bad_video(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    shutil.copy(bars / "test" / "left" / "0.mp4", tmp_path / "good.mp4")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    result = command("predict", run, tmp_path, "--json")
    assert_one_line(result, "2 of 3 videos cannot be read")
    assert f"skipped: {tmp_path / 'empty.mp4'}: the file is empty" in result.err.splitlines()
    found = {Path(entry["video"]).name: entry for entry in json.loads(result.out)}
    assert "problem" not in found["good.mp4"]
    assert found["empty.mp4"] == {
        "video": str(tmp_path / "empty.mp4"),
        "predictions": [],
        "problem": "the file is empty",
    }
    assert "text.mp4" in found
    missing = command("predict", run, tmp_path / "none.mp4")
    assert_one_line(missing, "1 of 1 videos cannot be read")
    assert "none.mp4: no such file" in missing.err


def test_json_lines(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    words = ("predict", run, bars / "test", tmp_path / "empty.mp4", "--workers", 0)
    lines = command(*words, "--out", "-")
    assert_one_line(lines, "1 of 5 videos cannot be read")
    array = command(*words, "--json")
    assert array.out.count("\n") == 1
    assert [json.loads(line) for line in lines.out.splitlines()] == json.loads(array.out)
    assert_one_line(command(*words, "--out", "-", "--json"), "--json and --out -: expected one of them")


def test_a_video_that_cannot_be_read_is_a_row(
    command: Command, run: Path, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its reason, in tabs and in the table too."""
    good, empty = bars / "test" / "left" / "0.mp4", tmp_path / "empty.mp4"
    empty.touch()
    words = ("predict", run, empty, good, "--top", 1, "--workers", 0)
    piped = command(*words)
    assert_one_line(piped, "1 of 2 videos cannot be read")
    header, bad, row = (line.split("\t") for line in piped.out.splitlines())
    assert header == ["video", "label", "score", "problem"]
    assert bad == [str(empty), "", "", "the file is empty"]
    assert (row[0], float(row[2]) > 0.5, row[3]) == (str(good), True, "")
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "500")
    assert re.search(rf"{re.escape(str(empty))} +\(the file is empty\)", command(*words).out)


def test_how_much_was_seen(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    """Of a long video: in its row, and in one line for all of them."""
    write_video(tmp_path / "long.mp4", moving_bar(1, 0, 40), 10)
    shutil.copy(tmp_path / "long.mp4", tmp_path / "longer.mp4")
    short = bars / "test" / "left" / "0.mp4"
    words = ("--json", "--workers", 0)
    result = command("predict", run, short, tmp_path, *words)
    seen = {"seconds": 4.0, "frames": 40, "seen_seconds": 0.8, "seen_frames": 4}
    found = [{name: row[name] for name in seen} for row in json.loads(result.out)]
    assert found == [{**seen, "seconds": 1.0, "frames": 10}, seen, seen]
    notes = [line for line in result.err.splitlines() if line.startswith("note: ")]
    assert notes == [
        f"note: sampled sparsely: 2 of 3 videos, such as {tmp_path / 'long.mp4'}: 4 of 40 frames, in 0.8 of 4.0 s; "
        "--whole covers all of a video, timesformer timeline says when"
    ]
    assert "note: " not in command("predict", run, short, *words).err


def test_a_line_a_minute_where_there_is_no_terminal(
    command: Command, run: Path, bars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", run, bars / "test", "--workers", 0)
    assert "progress: " not in command(*words).err
    monkeypatch.setattr("timesformer.cli.progress.EVERY", 0)
    lines = [line for line in command(*words).err.splitlines() if line.startswith("progress: ")]
    assert len(lines) == 4
    assert re.fullmatch(r"progress: 4 of 4 videos, [0-9.]+ videos/s", lines[-1])


def test_tabs_and_line_ends_in_names(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    for name in ("a\tb.mp4", "new\nline.mp4"):
        shutil.copy(bars / "test" / "left" / "0.mp4", tmp_path / name)
    (tmp_path / "bad\t.mp4").touch()
    header, *lines = command("predict", run, tmp_path, "--top", 1, "--workers", 0).out.splitlines()
    assert [len(line.split("\t")) for line in (header, *lines)] == [4] * 4
    assert [line.split("\t")[0] for line in lines] == [
        f"{tmp_path}/{name}" for name in ("a\\tb.mp4", "bad\\t.mp4", "new\\nline.mp4")
    ]


def test_the_last_line_counts(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    words = ("predict", run, bars / "test", "--workers", 0)
    assert re.fullmatch(r"done: 4 videos, 0 unreadable, [0-9.]+ videos/s", command(*words).err.splitlines()[-1])
    lines = command(*words, tmp_path / "empty.mp4").err.splitlines()
    assert lines[-2].startswith("done: 5 videos, 1 unreadable, ")
    assert "done" not in command("predict", run, bars / "test" / "left" / "0.mp4").err  # there is nothing to count


def test_urls_and_standard_input(command: Command, run: Path, bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = bars / "test" / "left" / "0.mp4"
    (expected,) = json.loads(command("predict", run, video, "--precision", "fp32", "--json").out)
    for precision in ("fp32", "int8"):  # calibration reads what is classified too
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(video.read_bytes())))
        found = command("predict", run, "-", video.as_uri(), "--precision", precision, "--json", "--workers", 0)
        piped, named = json.loads(found.out)
        assert (piped["video"], named["video"]) == ("<stdin>", str(video))
        for row in (piped, named):
            assert row["predictions"][0]["label"] == expected["predictions"][0]["label"]
            assert row["predictions"][0]["score"] == pytest.approx(expected["predictions"][0]["score"], abs=0.02)


def test_a_row_comes_as_soon_as_it_is_known(
    one_video_at_a_time: Path, bars: Path, late_video: tuple[str, threading.Event]
) -> None:
    """The second video comes from a server that does not send it before the first row is there."""
    video, (url, seen) = bars / "test" / "left" / "0.mp4", late_video
    reading, writing = os.pipe()
    words = (one_video_at_a_time, video, url, "--out", "-", "--workers", 0, "--device", "cpu")
    process = Started("predict", *words, streams={1: writing})
    os.close(writing)
    with open(reading) as rows:
        first = json.loads(rows.readline())
        assert process.poll() is None
        seen.set()
        second = json.loads(rows.readline())
        assert rows.read() == ""
    said = process.communicate()
    assert process.returncode == 0, said
    assert (first["video"], second["video"]) == (str(video), url)
    assert first["predictions"] == second["predictions"]
    assert {row["label"] for row in first["predictions"]} == {"left", "right"}


@pytest.mark.parametrize("words", [("--out", "-"), ()])
def test_rows_go_to_a_file_while_a_terminal_shows_the_bar(run: Path, bars: Path, words: tuple[str, ...]) -> None:
    terminal, its_end = pty.openpty()
    process = Started("predict", run, bars / "test", *words, "--workers", 0, streams={2: its_end})
    os.close(its_end)
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(terminal, 65536):  # a bar that is drawn for long would fill it
            shown += part
    os.close(terminal)
    printed = process.communicate()[0]
    assert process.returncode == 0
    assert b"4/4" in shown
    assert b"0.mp4" not in shown
    assert printed.count(str(bars / "test" / "left" / "0.mp4")) == (1 if words else 2)  # a line a class


def test_a_reader_that_stops_early(run: Path, bars: Path) -> None:
    """As `head -1` does: no traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    words = (run, bars / "test", bars / "train", "--out", "-", "--workers", 0, "--device", "cpu")
    process = Started("predict", *words, streams={1: writing})
    os.close(writing)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in errors
