"""Runs that end when their validation score no longer rises."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import small_recipe
from stops import same, stopped
from timesformer.errors import SettingError
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit, resume

# Weights that stay as they are: no validation is better than the first.
SETTINGS = ("training.epochs=9", "training.patience=2", "optimizer.learning_rate=1e-12", "training.batch_size=2")


def validated(run: Path) -> list[float]:
    return [float(row["epoch"]) for row in read_metrics(run / "logs" / "metrics.csv") if row["val_top1"]]


def last_line(run: Path) -> str:
    return (run / "log.txt").read_text().splitlines()[-1].partition("Z  ")[2]


@pytest.mark.parametrize(("every", "epochs"), [(1, [1, 2, 3]), (2, [2, 4, 6])])
def test_a_run_stops_after_validations_without_a_better_score(
    bars: Path, tmp_path: Path, every: int, epochs: list[float]
) -> None:
    result = fit(small_recipe(*SETTINGS, f"training.validate_every={every}"), bars, tmp_path / "run")
    assert validated(tmp_path / "run") == epochs
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["place"] == (epochs[-1], 0)
    assert last_line(tmp_path / "run") == (
        f"stopped after epoch {epochs[-1]} of 9: no better top-1 on val than {result.score:.3f} in 2 validations "
        "(training.patience)"
    )


def test_a_run_that_improves_does_not_stop(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third validation is no better than the second, the fourth is; the last two are not."""
    scores = iter([0.25, 0.5, 0.5, 0.75, 0.5, 0.75])
    monkeypatch.setattr(
        "timesformer.training.epoch_metrics.ValidationScores.measure",
        lambda self, gather, split, multilabel: {"val_loss": 1.0, "val_top1": next(scores)},
    )
    result = fit(small_recipe(*SETTINGS), bars, tmp_path / "run")
    assert (result.epoch, result.score) == (6, 0.75)
    assert last_line(tmp_path / "run").startswith("stopped after epoch 6 of 9: no better top-1 on val than 0.750 in 2")


@pytest.mark.parametrize("batches", [3, 9, 11])
def test_a_torn_run_stops_where_the_whole_one_does(bars: Path, tmp_path: Path, batches: int) -> None:
    settings = (*SETTINGS, "training.checkpoint_steps=1")
    whole = fit(small_recipe(*settings), bars, tmp_path / "whole")
    stopped(bars, tmp_path / "torn", batches, *settings)
    assert resume(tmp_path / "torn") == replace(whole, model=tmp_path / "torn" / "model")
    assert last_line(tmp_path / "torn") == last_line(tmp_path / "whole")
    for file in ("model/model.safetensors", "logs/metrics.csv"):
        assert (tmp_path / "torn" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    one, two = (torch.load(tmp_path / run / "checkpoints" / "last.ckpt") for run in ("whole", "torn"))
    assert one["callbacks"].keys() == two["callbacks"].keys()
    assert same(one, two)


def test_a_run_that_has_stopped_does_not_go_on(bars: Path, tmp_path: Path) -> None:
    """It does with more patience, of which one that is left waits no longer."""
    fit(small_recipe(*SETTINGS), bars, tmp_path / "run")
    line = last_line(tmp_path / "run")
    resume(tmp_path / "run")
    assert validated(tmp_path / "run") == [1, 2, 3]
    assert last_line(tmp_path / "run") == line
    resume(tmp_path / "run", overrides=["training.patience=3"], accept_changes=True)
    assert validated(tmp_path / "run") == [1, 2, 3, 4]
    assert last_line(tmp_path / "run").startswith("stopped after epoch 4 of 9: no better")


def test_less_patience_stops_a_run_that_resumes(bars: Path, tmp_path: Path) -> None:
    stopped(bars, tmp_path / "run", 8, *SETTINGS)
    resume(tmp_path / "run", overrides=["training.patience=1"], accept_changes=True)
    assert validated(tmp_path / "run") == [1, 2]
    assert last_line(tmp_path / "run").startswith("stopped after epoch 2 of 9: no better")


@pytest.mark.parametrize("splits", [["train"], ["train", "test"]])
def test_no_other_split_stops_a_run(bars: Path, tmp_path: Path, splits: list[str]) -> None:
    for split in splits:
        shutil.copytree(bars / split, tmp_path / "data" / split)
    with pytest.raises(SettingError) as raised:
        fit(small_recipe(*SETTINGS), tmp_path / "data", tmp_path / "run")
    assert str(raised.value) == (
        "training.patience is 2, but there is no val split to stop by: add one, set training.validation_fraction, or "
        "set training.patience to null"
    )
    assert not (tmp_path / "run").exists()
    result = fit(small_recipe(*SETTINGS, "training.validation_fraction=0.25"), tmp_path / "data", tmp_path / "run")
    assert (result.validation_split, validated(tmp_path / "run")) == ("val", [1, 2, 3])


def test_data_with_several_classes_a_video_stop_by_their_mean_average_precision(bars: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        rows = [f"{bars / split / label}/0.mp4,{label}" for label in ("left", "right")]
        (tmp_path / f"{split}.csv").write_text("\n".join(["path,labels", *rows]) + "\n")
    result = fit(small_recipe(*SETTINGS, "training.patience=1"), tmp_path, tmp_path / "run")
    assert last_line(tmp_path / "run") == (
        f"stopped after epoch 2 of 9: no better mAP on val than {result.score:.3f} in 1 validation (training.patience)"
    )
