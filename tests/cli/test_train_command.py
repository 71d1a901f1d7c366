"""`timesformer train`: settings, recipes and data that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Command, assert_one_line

BAD_TRAIN = {
    "override of no setting": (["training.epoch=2"], ["training.epoch", "did you mean training.epochs"]),
    "override without a value": (["seed"], ["'seed'", "key=value"]),
    "override of a group": (["training=2"], ["'training' is a group", "epochs"]),
    "value of the wrong kind": (["training.epochs=many"], ["training.epochs is 'many'"]),
    "size no multiple of the patch": (["model.image_size=30"], ["image_size 30 is not a multiple of patch_size 8"]),
    "scheme that is none": (["model.scheme=diagonal"], ["scheme is 'diagonal'", "axial"]),
    "crop larger than the frames": (["model.image_size=64"], ["augmentation.short_side starts at 32"]),
}


@pytest.mark.parametrize("name", BAD_TRAIN)
def test_bad_settings(command: Command, bars: Path, tmp_path: Path, name: str) -> None:
    overrides, parts = BAD_TRAIN[name]
    result = command("train", "--data", bars, "--recipe", "demo", "--out", tmp_path / "run", *overrides)
    assert_one_line(result, *parts)
    assert not (tmp_path / "run").exists()


def test_bad_recipes(command: Command, bars: Path, tmp_path: Path) -> None:
    assert_one_line(command("train", "--data", bars, "--recipe", "dmo"), "recipe dmo", "demo", "k400-base")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("optimiser:\n  name: sgd\n")
    assert_one_line(command("train", "--data", bars, "--recipe", recipe), "mine.yaml", "'optimiser'", "optimizer")
    recipe.write_text("seed: [1\n")
    assert_one_line(command("train", "--data", bars, "--recipe", recipe), "mine.yaml", "not YAML")


def test_bad_data(command: Command, tmp_path: Path) -> None:
    train = ("train", "--recipe", "demo", "--out", tmp_path / "run", "--data")
    assert_one_line(command(*train, tmp_path / "none"), "none: no such data folder")
    (tmp_path / "data").mkdir()
    assert_one_line(command(*train, tmp_path / "data"), "no data set found")
    (tmp_path / "data" / "train.csv").write_text("file,label\na.mp4,x\n")
    assert_one_line(command(*train, tmp_path / "data"), "train.csv", "file,label", "path,label")
    assert not (tmp_path / "run").exists()
