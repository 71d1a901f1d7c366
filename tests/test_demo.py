"""The demo with a few clips and a network of a second: what it prints is what lies in its folder."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow.parquet
import pytest
from rich.console import Console

import timesformer
from timesformer.demo import MARKER, run_demo

SMALL = (
    "model.width=32",
    "model.depth=1",
    "model.heads=2",
    "model.num_frames=4",
    "training.epochs=1",
    "optimizer.warmup_epochs=0.5",
    "training.device=cpu",
    "data.workers=0",
)


def test_what_the_demo_prints_lies_in_its_folder(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    out.mkdir()
    (out / MARKER).touch()
    (out / "old.txt").touch()  # of an earlier demo
    console = Console(file=io.StringIO(), highlight=False, soft_wrap=True)
    run_demo(out, console, clips={"train": 1, "val": 1, "test": 2}, overrides=SMALL)
    entries = {MARKER, "data", "left.mp4", "left_backwards.mp4", "run", "scores.parquet"}
    assert {entry.name for entry in out.iterdir()} == entries
    printed = console.file.getvalue()
    rows = pyarrow.parquet.read_table(out / "scores.parquet").to_pylist()
    top1 = sum(row["label"] == row["predicted"] for row in rows) / 16
    assert f"top-1 {top1:.3f} on 16 unseen clips (chance 0.125)" in printed.splitlines()
    predictor = timesformer.load(out / "run")
    for name in ("left", "left_backwards"):
        best, second = predictor.predict(out / f"{name}.mp4", top=2)
        line = next(line for line in printed.splitlines() if line.startswith(str(out / f"{name}.mp4")))
        assert line.endswith(f"{best.label} {best.score:.3f}, then {second.label} {second.score:.3f}")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(timesformer.SettingError, match="holds something other than a demo"):
        run_demo(tmp_path, Console(quiet=True))
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]
