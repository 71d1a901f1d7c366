"""The folder of an analysis: what is in its files, and that it is whole or not there."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.test_analysis import evaluated
from timesformer.errors import SettingError
from timesformer.evaluation.analysis import Analysis, analyse
from timesformer.evaluation.details import write_details
from timesformer.evaluation.figures import draw_confusion


@pytest.fixture
def analysis() -> Analysis:
    scores = torch.tensor([[0.8, 0.2], [0.3, 0.7], [0.1, 0.9], [0.6, 0.4]])
    result = evaluated(scores, torch.tensor([0, 0, 1, 1]), ("left, or so", "right"))
    return analyse(result, by=("room", ["x", "y", "y", "x"]))


def rows(file: Path) -> list[list[str]]:
    with file.open(newline="") as stream:
        return list(csv.reader(stream))


def test_all_of_it_is_in_files(analysis: Analysis, tmp_path: Path) -> None:
    folder = write_details(analysis, tmp_path / "details")
    assert json.loads((folder / "summary.json").read_text()) == analysis.as_dict()
    assert rows(folder / "classes.csv") == [
        ["label", "videos", "predicted", "precision", "recall"],
        ["left, or so", "2", "2", "0.500000", "0.500000"],
        ["right", "2", "2", "0.500000", "0.500000"],
    ]
    assert rows(folder / "confusion.csv") == [
        ["label", "left, or so", "right"],
        ["left, or so", "1", "1"],
        ["right", "1", "1"],
    ]
    assert rows(folder / "confusions.csv")[1] == ["left, or so", "right", "1"]
    assert rows(folder / "mistakes.csv")[1] == ["/data/1.mp4", "left, or so", "right", "0.700000"]
    assert rows(folder / "by.csv") == [
        ["room", "videos", "score", "low", "high"],
        *([value, "2", "0.500000", "0.094531", "0.905469"] for value in "xy"),
    ]
    assert len(rows(folder / "calibration.csv")) == 16
    assert ["0.866667", "0.933333", "1", "0.900000", "1.000000"] in rows(folder / "calibration.csv")
    for name in ("confusion.png", "calibration.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 300
    assert rows(folder / "suspects.csv")[0] == ["path", "label", "predicted", "score", "of_label"]
    assert len(list(folder.iterdir())) == 10
    assert [path.name for path in tmp_path.iterdir()] == ["details"]


@pytest.mark.parametrize("classes", [2, 27, 61])
def test_a_confusion_matrix_is_dark_where_a_class_is_right(classes: int, tmp_path: Path) -> None:
    """Its diagonal goes from the upper left to the lower right; a class without videos stays pale."""
    counts = torch.eye(classes, dtype=torch.long) * 3
    counts[0] = 0
    draw_confusion(counts, [f"class {number} $x_" for number in range(classes)], tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    dark = (pixels[..., 2] - pixels[..., 0] > 60) & (pixels.sum(-1) < 450)
    dark[:, int(pixels.shape[1] * 0.85) :] = False  # the colour bar
    y, x = np.nonzero(dark)
    assert len(y) > 100
    if classes > 2:
        assert np.corrcoef(y, x)[0, 1] > 0.9


def test_a_folder_that_cannot_be(analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(SettingError, match=r"there: exists already; name a new folder$"):
        write_details(analysis, tmp_path / "there")
    with pytest.raises(SettingError, match=r"no such folder .*nowhere$"):
        write_details(analysis, tmp_path / "nowhere" / "details")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("timesformer.evaluation.details.draw_reliability", full)
    with pytest.raises(SettingError, match=r"new: cannot be written: No space left on device$"):
        write_details(analysis, tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
