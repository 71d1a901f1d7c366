"""`timesformer train`: settings, recipes and data that are refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
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
    assert_one_line(
        command("train", "--data", bars, "--recipe", "dmo"), "recipe dmo: no such recipe or file; did you mean demo?"
    )
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("optimiser:\n  name: sgd\n")
    assert_one_line(command("train", "--data", bars, "--recipe", recipe), "mine.yaml", "'optimiser'", "optimizer")
    recipe.write_text("seed: [1\n")
    assert_one_line(command("train", "--data", bars, "--recipe", recipe), "mine.yaml", "not YAML")


def test_a_mistyped_recipe_or_setting_is_found_before_torch_is_imported() -> None:
    program = """import sys
from timesformer.cli.train import train
try:
    train([sys.argv[2]], data="DATA", recipe=sys.argv[1])
except Exception as error:
    print("torch" in sys.modules, error)"""
    for words, expected in {
        ("dmo", "seed=1"): "False recipe dmo: no such recipe or file; did you mean demo?\n",
        ("demo", "sed=1"): "False override 'sed=1': no setting named 'sed'; did you mean seed?\n",
    }.items():
        found = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
        assert found.stdout == expected


def test_a_run_resumes_by_its_folder_alone(command: Command, bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    resumed = command("train", "--resume", tmp_path / "run")
    assert (resumed.code, resumed.err) == (0, "")
    assert "resume  after step 8\n" in resumed.out
    assert resumed.out.splitlines()[-1].startswith(f"{tmp_path / 'run' / 'model'}: the classifier of epoch ")
    words = ("train", "--resume", tmp_path / "run", "training.epochs=5")
    assert_one_line(command(*words), "training.epochs was 4, is 5; --accept-changes resumes all the same")
    longer = command(*words, "--accept-changes", "--data", bars)
    assert longer.code == 0
    assert "changed training.epochs was 4, is 5\n" in longer.out
    assert "epoch   5/5 " in longer.out


@pytest.mark.parametrize("option", [("--recipe", "demo"), ("--init", "weights"), ("--out", "run")])
def test_what_a_resumed_run_has_is_not_given_again(command: Command, run: Path, option: tuple[str, str]) -> None:
    result = command("train", "--resume", run, *option)
    expected = "cannot be combined with --resume RUN, which keeps the run's own; KEY=VALUE changes a setting"
    assert_one_line(result, f"{' '.join(option)}: {expected}")


def test_what_train_requires(command: Command, bars: Path) -> None:
    recipe = "--recipe (`timesformer recipes` lists them)"
    both = f"--data and {recipe}"
    for words, lacking in (
        ((), both),
        (("--data", bars), recipe),
        (("--recipe", "demo"), "--data"),
        (("seed=3",), both),
    ):
        assert_one_line(command("train", *words), f"train requires {lacking}, or --resume RUN alone")
    assert_one_line(command("train", "--accept-changes"), "--accept-changes requires --resume RUN")


def test_bad_data(command: Command, tmp_path: Path) -> None:
    train = ("train", "--recipe", "demo", "--out", tmp_path / "run", "--data")
    assert_one_line(command(*train, tmp_path / "none"), "none: no such data folder")
    (tmp_path / "data").mkdir()
    assert_one_line(command(*train, tmp_path / "data"), "no data set found")
    (tmp_path / "data" / "train.csv").write_text("file,label\na.mp4,x\n")
    assert_one_line(command(*train, tmp_path / "data"), "train.csv", "file,label", "path,label")
    assert not (tmp_path / "run").exists()
