"""The first lines of a run."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import small_recipe
from timesformer.training.header import training_header
from timesformer.training.plan import plan_training


def header(data: Path) -> list[str]:
    return training_header(plan_training(small_recipe(), data, data / "run", None, resume=False, accept_changes=False))


def test_other_files_are_counted(tmp_path: Path, bars: Path) -> None:
    assert not any("ignored: " in line for line in header(bars))
    shutil.copytree(bars, tmp_path, dirs_exist_ok=True)
    (tmp_path / "train" / "left" / "0.json").touch()
    (tmp_path / "val" / "notes.txt").touch()
    notes = [line for line in header(tmp_path) if "ignored: " in line]
    assert notes == ["note    train: ignored: 1 .json", "note    val: ignored: 1 .txt"]


def test_classes_without_a_video(tmp_path: Path, bars: Path) -> None:
    (tmp_path / "labels.txt").write_text("none\nleft\nup\nright\n")
    (tmp_path / "train.txt").write_text(f"{bars}/train/left/0.mp4 1\n{bars}/train/right/0.mp4 3\n")
    notes = [line for line in header(tmp_path) if "class" in line and line.startswith("note")]
    assert notes == [
        "note    train: label numbers begin with 1; they count from 0, so no video is of class none",
        "note    2 of 4 classes have no training video: none, up",
    ]
