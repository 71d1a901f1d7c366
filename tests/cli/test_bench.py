"""`timesformer bench` as its users meet it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from commands import Command, assert_one_line


def test_model(command: Command, run: Path) -> None:
    found = command("bench", "model", run, "--rounds", 2, "--precision", "fp32", "--device", "cpu", "--json")
    assert found.code == 0, found.err
    values = json.loads(found.out)
    assert (values["clips"], values["engine"], values["rounds"]) == ([1, 3, 4, 16, 16], "eager", 2)
    assert values["clips_per_second"] == 1 / values["seconds"]["median"]
    words = ("--size", "tiny", "--frames", 2, "--image-size", 32, "--rounds", 1, "--device", "cpu")
    shown = command("bench", "model", *words, "--scheme", "axial", "--precision", "fp32").out
    assert shown.startswith("axial, engine eager, fp32, cpu, 1 x 2 x 32 x 32, 1 rounds\n")
    assert "products alone" in shown
    assert_one_line(command("bench", "model", run, "--scheme", "axial"), "the weights have their own")
    assert_one_line(command("bench", "model", "--image-size", 30), "image_size 30 is not a multiple of patch_size 16")


def test_video(command: Command, bars: Path) -> None:
    words = ("bench", "video", bars / "val", "--frames", 2, "--image-size", 24, "--workers", 0, "--rounds", 1)
    values = json.loads(command(*words, "--json").out)
    assert (values["videos"], values["clips"], values["together"]) == (4, 4, None)
    assert "4 videos, 4 clips of 2 frames at 24 pixels" in command(*words).out
    assert_one_line(command("bench", "video", bars / "val", "--crops", 2), "test_crops is 2, should be 1 or 3")


def test_train(command: Command) -> None:
    words = ("--size", "tiny", "--frames", 2, "--image-size", 32, "--batch", 2, "--rounds", 1, "--device", "cpu")
    values = json.loads(command("bench", "train", *words, "--precision", "fp32", "--json").out)
    assert values["clips_per_second"] == pytest.approx(2 / values["seconds"]["median"])
    assert values["memory"] > 5.7e6 * 16  # weights, gradients and two moments
    assert_one_line(command("bench", "train", "--precision", "int8"), "precision is 'int8': one of auto, fp32, bf16")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited on Linux alone")
def test_cost_ends_where_memory_does(command: Command, tmp_path: Path) -> None:
    words = (
        "bench",
        "cost",
        "--out",
        tmp_path,
        "--size",
        "tiny",
        "--schemes",
        "joint_space_time",
        "--sizes",
        "32",
        "--frame-counts",
        "512",
        "--train",
        "--rounds",
        1,
        "--memory-limit",
        0.6,
        "--precision",
        "fp32",
        "--device",
        "cpu",
    )
    found = command(*words)
    assert (found.code, found.err) == (0, "")
    assert "out of memory" in found.out
    assert str(tmp_path / "cost.csv") in found.out
    rows = json.loads(command(*words, "--json").out)
    assert [(row["frames"], row["status"]) for row in rows] == [(512, "out of memory")]
    assert (tmp_path / "cost.png").stat().st_size > 5_000
    assert_one_line(command("bench", "cost", "--out", tmp_path, "--sizes", "a4"), "sizes.0 is 'a4'")
