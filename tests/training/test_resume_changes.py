"""Settings, data and epochs that have changed when a run resumes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import small_recipe
from stops import rates, stopped, stopped_again
from timesformer.errors import SettingError
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit, resume
from timesformer.training.resume import differences


def test_accepted_changes_outlive_another_stop(bars: Path, tmp_path: Path) -> None:
    """The run is stopped again before any step with the new settings is kept: recipe.yaml has them, last.ckpt not."""
    before = ("optimizer.schedule=cosine",)
    after = (*before, "training.epochs=5", "optimizer.learning_rate=0.01")
    fit(small_recipe(*after), bars, tmp_path / "longer")
    stopped(bars, tmp_path / "run", 4, *before)
    stopped_again(tmp_path / "run", 1, *after, accept_changes=True)
    with pytest.raises(SettingError, match=r"training\.epochs was 4, is 5"):
        resume(tmp_path / "run")
    resume(tmp_path / "run", accept_changes=True)
    expected, found = rates(tmp_path / "longer"), rates(tmp_path / "run")
    assert len(found) == len(expected) == 5
    assert found[2:] == pytest.approx(expected[2:])


def test_the_batches_of_an_epoch_that_has_begun_cannot_change(bars: Path, tmp_path: Path) -> None:
    steps = ("training.checkpoint_steps=1", "training.batch_size=2")
    stopped(bars, tmp_path / "run", 7, *steps)
    other = ("training.batch_size=4", "seed=2")
    with pytest.raises(
        SettingError,
        match=r"stopped inside an epoch, where its batches cannot change: seed was 0, is 2; "
        r"training\.batch_size was 2, is 4",
    ):
        resume(tmp_path / "run", overrides=other, accept_changes=True)
    stopped_again(tmp_path / "run", 1)  # to the end of the epoch
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 8
    resume(tmp_path / "run", overrides=other, accept_changes=True)
    rows = [row for row in read_metrics(tmp_path / "run" / "logs" / "metrics.csv") if row["train_loss"]]
    assert [(int(row["step"]), float(row["epoch"])) for row in rows] == [(4, 1), (8, 2), (10, 3), (12, 4)]


@pytest.mark.parametrize(("batches", "epochs", "at"), [(8, 1, "past epoch 2"), (5, 1, "inside epoch 2")])
def test_fewer_epochs_than_are_done_are_refused(bars: Path, tmp_path: Path, batches: int, epochs: int, at: str) -> None:
    """Before anything is written; the run then resumes as it was."""
    steps = ("training.checkpoint_steps=1", "training.batch_size=2")
    stopped(bars, tmp_path / "run", batches, *steps)
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(SettingError, match=rf"training\.epochs is {epochs}, but the run is already {at}"):
        resume(tmp_path / "run", overrides=[f"training.epochs={epochs}"], accept_changes=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == files


def test_differences_are_all_named() -> None:
    before = {"a": {"b": 1, "c": [1, 2]}, "d": None, "lost": 3}
    now = {"a": {"b": 2, "c": [1, 2]}, "d": {"e": 1}, "new": "x" * 99}
    changes = differences(before, now)
    assert changes == [("a.b", 1, 2), ("d", None, {"e": 1}), ("lost", 3, None), ("new", None, "x" * 99)]
    assert [change.name for change in changes] == ["a.b", "d", "lost", "new"]
    assert [str(change) for change in changes] == [
        "a.b was 1, is 2",
        "d was None, is {'e': 1}",
        "lost was 3, is None",
        f"new was None, is {'x' * 77}...",
    ]
    assert differences(before, before) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("optimizer.warmup_epochs=0", "optimizer.warmup_epochs=0.5"),
        ("optimizer.warmup_epochs=0.5", "optimizer.warmup_epochs=0"),
        ("optimizer.schedule=cosine", "optimizer.schedule=steps"),
    ],
)
def test_a_schedule_of_other_parts_can_be_accepted(bars: Path, tmp_path: Path, before: str, after: str) -> None:
    common = ("optimizer.schedule=cosine", "optimizer.steps=[3]")
    fit(small_recipe(*common, after), bars, tmp_path / "whole")
    stopped(bars, tmp_path / "run", 4, *common, before)
    resume(tmp_path / "run", overrides=[after], accept_changes=True)
    assert rates(tmp_path / "run")[2:] == pytest.approx(rates(tmp_path / "whole")[2:])


def test_other_videos_are_a_change_even_where_they_are_as_many(bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    stopped(tmp_path / "data", tmp_path / "run", 4)
    (tmp_path / "data/train/left/0.mp4").rename(tmp_path / "data/train/right/9.mp4")
    with pytest.raises(SettingError, match=r"changed since the run started: videos was 8 \(\w+\), is 8 \(\w+\)"):
        resume(tmp_path / "run")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("sgd", "momentum=0"), ("sgd", "momentum=0.9")),
        (("sgd", "momentum=0.9"), ("sgd", "momentum=0")),
        (("adamw", "betas=[0.9,0.999]"), ("adamw", "betas=[0.5,0.9]")),
    ],
)
def test_accepted_settings_of_the_optimiser_are_all_taken(
    bars: Path, tmp_path: Path, before: tuple[str, str], after: tuple[str, str]
) -> None:
    """What a checkpoint keeps of each group of parameters is that of a new run, `nesterov` too."""

    def settings(name: str, change: str) -> tuple[str, ...]:
        return f"optimizer.name={name}", f"optimizer.{change}", "optimizer.schedule=constant"

    def groups(run: Path) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = torch.load(run / "checkpoints" / "last.ckpt")["optimizer_states"][0][
            "param_groups"
        ]
        return found

    stopped(bars, tmp_path / "run", 4, *settings(*before))
    resume(tmp_path / "run", overrides=settings(*after), accept_changes=True)
    fit(small_recipe(*settings(*after)), bars, tmp_path / "new")
    assert groups(tmp_path / "run") == groups(tmp_path / "new")
