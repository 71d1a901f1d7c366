"""`timesformer test` as its users meet it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

import timesformer
from commands import Command, assert_one_line
from timesformer.config import Preprocessing
from timesformer.evaluation.analysis import analyse
from timesformer.evaluation.record import record_test
from timesformer.weights.classifier import Classifier


def test_test_follows_the_protocol_it_is_given(command: Command, run: Path, bars: Path) -> None:
    one = command("test", run, "--data", bars, "--crops", 1, "--workers", 0)
    assert one.code == 0
    assert "top-1" in one.out
    covering = command("test", run, "--data", bars, "--sampling", "cover", "--workers", 0, "--json")
    assert json.loads(covering.out)["videos"] == 4


def test_another_size_resizes_the_tables(command: Command, run: Path, bars: Path) -> None:
    words = ("test", run, "--data", bars, "--workers", 0, "--json")
    found = command(*words, "--image-size", 24, "--frames", 6)
    assert json.loads(found.out)["videos"] == 4
    found = command(*words, "--image-size", 24, "--position-resize", "nearest_flat")
    assert json.loads(found.out)["videos"] == 4
    assert_one_line(command(*words, "--position-resize", "linear"), "position_resize is 'linear', should be 'bicubic'")
    assert_one_line(command(*words, "--image-size", 20), "image_size 20 is not a multiple of patch_size 8")


def test_top5_is_printed_where_there_are_more_than_five_classes(
    command: Command, run: Path, bars: Path, tmp_path: Path
) -> None:
    assert "top-5" not in command("test", run, "--data", bars, "--workers", 0).out
    assert "top5" not in json.loads(command("test", run, "--data", bars, "--workers", 0, "--json").out)
    names = ("left", "right", "up", "down", "near", "far")
    model = timesformer.TimeSformer(
        width=32, depth=1, heads=2, num_frames=2, image_size=16, patch_size=8, num_classes=6
    )
    Classifier(model, Preprocessing(), names).save_pretrained(tmp_path / "six")
    words = ("test", tmp_path / "six", "--data", bars, "--workers", 0)
    top5 = json.loads(command(*words, "--json").out)["top5"]
    assert f"\ntop-5                  {top5:.4f}  95% " in command(*words).out


def test_bad_test_options(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    assert_one_line(command("test", run, "--data", bars, "--crops", 2), "test_crops is 2")
    assert_one_line(command("test", run, "--data", bars, "--split", "dev"), "split 'dev'")
    assert_one_line(command("test", run, "--data", bars, "--sampling", "all"), "'all'", "'cover'")
    assert_one_line(
        command("test", run, "--data", bars, "--out", tmp_path / "scores.txt"),
        "*.parquet, *.csv, *.pkl or *.mmaction2.pkl",
    )


def test_unknown_class(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars / "test" / "left", tmp_path / "data" / "test" / "sideways")
    assert_one_line(command("test", run, "--data", tmp_path / "data"), "sideways", "left, right")


def test_test_counts_and_reports_a_bad_video(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars / "test", tmp_path / "test")
    (tmp_path / "test" / "left" / "bad.mp4").touch()
    words = ("test", run, "--data", tmp_path, "--workers", 0, "--json", "--max-bad-fraction")
    result = command(*words, 0.3)
    summary = json.loads(result.out)
    assert (summary["videos"], summary["skipped"]) == (4, 1)
    assert f"skipped: {tmp_path / 'test' / 'left' / 'bad.mp4'}: the file is empty" in result.err.splitlines()
    assert_one_line(command(*words, 0.1), "1 of 5 videos cannot be read", "max_bad_fraction")


@pytest.mark.parametrize("option", ["--frames", "--image-size", "--clips"])
def test_test_refuses_nothing_at_all(command: Command, run: Path, bars: Path, option: str) -> None:
    result = command("test", run, "--data", bars, option, 0)
    assert_one_line(result, f"Invalid value for '{option}': ")
    assert "1" in result.err.split(option)[1]  # the smallest that is allowed


def test_the_command_prints_what_the_function_finds(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.parquet"
    words = ("test", run, "--data", bars, "--split", "val", "--crops", 1, "--device", "cpu", "--workers", 0)
    printed = json.loads(command(*words, "--out", scores, "--json").out)
    result = timesformer.evaluate(run, bars, split="val", crops=1, device="cpu", workers=0)
    assert {**printed, **result.summary()} == printed
    rows = pyarrow.parquet.read_table(scores).to_pylist()
    assert [row["path"] for row in rows] == [str(path) for path in result.paths]
    assert [row["scores"] for row in rows] == result.scores_BK.tolist()
    lines = command(*words).out.splitlines()
    low, high = printed["intervals"]["top1"]
    interval = f"95% {low:.3f} to {high:.3f}; most frequent class 0.500"
    assert lines[0] == f"top-1                  {result.metrics.top1:.4f}  {interval}"
    assert len(lines) <= 10
    assert "videos                 4, skipped 0" in lines
    assert f"engine                 eager, {result.precision}" in lines
    assert (printed["engine"], printed["precision"]) == ("eager", result.precision)


@pytest.fixture
def rooms(bars: Path, tmp_path: Path) -> Path:
    """The test videos of `bars` in a list with a column."""
    videos = sorted((bars / "test").rglob("*.mp4"))
    rows = [
        f"{video},{video.parent.name},{room}\n"
        for video, room in zip(videos, ("hall", "hall", "", "yard"), strict=True)
    ]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.csv").write_text("path,label,room\n" + "".join(rows))
    return tmp_path / "data"


def test_all_that_is_asked_next(command: Command, run: Path, rooms: Path, tmp_path: Path) -> None:
    words = ("test", run, "--data", rooms, "--workers", 0, "--device", "cpu", "--by", "room", "--top-k", "1, 2")
    found = command(*words, "--details", tmp_path / "details", "--out", tmp_path / "scores.mmaction2.pkl")
    lines = found.out.splitlines()
    assert found.code == 0
    assert max(map(len, lines[:-2])) <= 80
    names = [line[:23].strip() for line in lines]
    for name in (
        "top-1",
        "top-2",
        "mean class accuracy",
        "AUC",
        "calibration error",
        "recall (precision)",
        "lowest room",
    ):
        assert names.count(name) == 1
    assert lines[-2:] == [
        f"scores                 {tmp_path / 'scores.mmaction2.pkl'}",
        f"details                {tmp_path / 'details'}",
    ]
    summary = json.loads((tmp_path / "details" / "summary.json").read_text())
    assert summary == json.loads(command(*words, "--json").out)
    values = summary["by"]["values"]
    assert {value: part["videos"] for value, part in values.items()} == {"hall": 2, "": 1, "yard": 1}
    assert summary["top1"] == sum(part["videos"] * part["score"] for part in values.values()) / 4


def test_intervals_of_groups(command: Command, run: Path, rooms: Path, tmp_path: Path) -> None:
    text = (rooms / "test.csv").read_text()
    (rooms / "test.csv").write_text(text.replace(",\n", ",yard\n"))
    words = ("test", run, "--data", rooms, "--workers", 0, "--group", "room", "--out", tmp_path / "s.parquet")
    assert "videos                 4 in 2 groups, skipped 0" in command(*words).out.splitlines()
    assert pyarrow.parquet.read_table(tmp_path / "s.parquet").column("group").to_pylist() == ["hall"] * 2 + ["yard"] * 2
    compared = command("compare", tmp_path / "s.parquet", tmp_path / "s.parquet").out.splitlines()
    assert compared[0].split() == ["first", "second", "difference"]
    assert "McNemar's exact test   p = 1 (as of independent videos)" in compared
    assert compared[-1] == "videos                 4 in 2 groups"
    assert json.loads(command("compare", tmp_path / "s.parquet", tmp_path / "s.parquet", "--json").out)["groups"] == 2


def test_bad_questions(command: Command, run: Path, bars: Path, rooms: Path, tmp_path: Path) -> None:
    """Each is refused before a video is read."""
    words = ("test", run, "--data", rooms)
    for numbers in ("0", "1,", "a", "-3", "1.5"):
        assert_one_line(command(*words, f"--top-k={numbers}"), f"--top-k {numbers}: expected numbers of at least 1")
    (tmp_path / "several").mkdir()
    (tmp_path / "several" / "test.csv").write_text("path,labels\na.mp4,left;right\n")
    assert_one_line(
        command("test", run, "--data", tmp_path / "several", "--top-k", 2), "top-k: there is none where a vi"
    )
    assert_one_line(command(*words, "--by", "person"), "test.csv: has no column person; it has path, label, room")
    assert_one_line(command(*words, "--group", "room"), "has no room; each video needs one")
    assert_one_line(
        command("test", run, "--data", bars, "--by", "room"),
        "has no column room: class folders, which have no columns; scores by a column need CSV",
    )
    assert_one_line(command(*words, "--details", tmp_path), "exists already; name a new folder")
    assert_one_line(command(*words, "--details", tmp_path / "a" / "b"), "no such folder")
    assert_one_line(command("compare", tmp_path / "a.parquet", rooms / "test.csv"), "a.parquet: no such file")


def test_calibrate(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    videos = sorted((bars / "train").rglob("*.mp4"))
    rows = [f"{video},{'right' if row in (0, 4, 5, 6) else 'left'}\n" for row, video in enumerate(videos)]
    (tmp_path / "val.csv").write_text("path,label\n" + "".join(rows))
    words = ("calibrate", run, tmp_path / "out", "--data", tmp_path, "--workers", 0, "--device", "cpu")
    found = command(*words)
    assert found.code == 0, found.err
    assert [line[:23].strip() for line in found.out.splitlines()] == [
        "temperature",
        "calibration error",
        "log-loss",
        "videos",
        "weights",
    ]
    assert "temperature" in timesformer.load_model(tmp_path / "out").facts
    assert_one_line(command(*words), "out: exists already")
    assert_one_line(command(*words[:2], tmp_path / "more", *words[3:], "--split", "test"), "has no test split")
    assert_one_line(command("calibrate", tmp_path / "out", tmp_path / "more", *words[3:]), "has a temperature already")


def test_the_speed_of_a_test_is_that_of_its_videos(
    command: Command, run: Path, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its intervals are drawn after the record was taken."""
    order = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any, **named: Any) -> Any:
            order.append(name)
            return function(*values, **named)

        return call

    monkeypatch.setattr("timesformer.evaluation.record.record_test", noted("record", record_test))
    monkeypatch.setattr("timesformer.evaluation.analysis.analyse", noted("analyse", analyse))
    assert command("test", run, "--data", bars, "--workers", 0).code == 0
    assert order == ["record", "analyse"]
