"""`timesformer test` as its users meet it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest

import timesformer
from commands import Command, assert_one_line
from timesformer.config import Preprocessing
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
    names = ("left", "right", "up", "down", "near", "far")
    model = timesformer.TimeSformer(
        width=32, depth=1, heads=2, num_frames=2, image_size=16, patch_size=8, num_classes=6
    )
    Classifier(model, Preprocessing(), names).save_pretrained(tmp_path / "six")
    words = ("test", tmp_path / "six", "--data", bars, "--workers", 0)
    top5 = json.loads(command(*words, "--json").out)["top5"]
    assert f"top-5                  {top5:.4f}" in command(*words).out.splitlines()


def test_bad_test_options(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    assert_one_line(command("test", run, "--data", bars, "--crops", 2), "test_crops is 2")
    assert_one_line(command("test", run, "--data", bars, "--split", "dev"), "split 'dev'")
    assert_one_line(command("test", run, "--data", bars, "--sampling", "all"), "'all'", "'cover'")
    assert_one_line(command("test", run, "--data", bars, "--out", tmp_path / "scores.txt"), "*.parquet or *.pkl")


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
    assert result.code == 2
    assert f"Invalid value for '{option}': " in result.err
    assert "1" in result.err.split(option)[1]  # the smallest that is allowed


def test_the_command_prints_what_the_function_finds(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.parquet"
    words = ("test", run, "--data", bars, "--split", "val", "--crops", 1, "--device", "cpu", "--workers", 0)
    printed = json.loads(command(*words, "--out", scores, "--json").out)
    result = timesformer.evaluate(run, bars, split="val", crops=1, device="cpu", workers=0)
    assert printed == result.summary()
    rows = pyarrow.parquet.read_table(scores).to_pylist()
    assert [row["path"] for row in rows] == [str(path) for path in result.paths]
    assert [row["scores"] for row in rows] == result.scores_BK.tolist()
    lines = command(*words).out.splitlines()
    assert f"top-1                  {result.metrics.top1:.4f}" in lines
    assert "videos                 4, skipped 0" in lines
