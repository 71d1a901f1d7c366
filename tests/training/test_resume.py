"""Runs that resume: where they were stopped, what they compare with, and that nothing of it is lost or doubled."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import SMALL, small_recipe
from timesformer.data.dataset import Batch
from timesformer.errors import SettingError
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit
from timesformer.training.log import read_sessions
from timesformer.training.resume import differences
from timesformer.training.task import ClassificationTask

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
# All that could come out of step; four batches and two steps an epoch.
MIXED = (
    "model.dropout=0.1",
    "model.drop_path=0.2",
    "augmentation.mixup=0.3",
    "augmentation.cutmix=0.5",
    "augmentation.random_ops=1",
    "augmentation.repeats=2",
    "training.ema=0.9",
    "training.batch_size=4",
    "training.accumulate=2",
    "training.epochs=4",
    "training.checkpoint_steps=1",
    "training.balance=sampling",
    "data.workers=2",
)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(one, two) for one, two in zip(first, second, strict=True))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else bool(first == second)


def events(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run."""
    shown = EventAccumulator(str(run / "logs" / "tensorboard")).Reload()
    return {tag: [(event.step, event.value) for event in shown.Scalars(tag)] for tag in shown.Tags()["scalars"]}


def assert_same_runs(first: Path, second: Path) -> None:
    for name in ("model/model.safetensors", "logs/metrics.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    one, two = (torch.load(run / "checkpoints" / "last.ckpt") for run in (first, second))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "sums", "recipe", "facts", "global_step", "epoch"):
        assert same(one[part], two[part]), part
    assert events(first) == events(second)
    assert any(name.startswith("averaged.") for name in one["state_dict"])


@pytest.fixture(scope="module")
def whole(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit(small_recipe(*MIXED), bars, folder)
    return folder


def stop_at(patch: pytest.MonkeyPatch, batches: int) -> None:
    """Let a run take so many batches."""
    step, seen = ClassificationTask.training_step, 0

    def torn(self: ClassificationTask, batch: Batch, number: int) -> torch.Tensor:
        nonlocal seen
        seen += 1
        if seen > batches:
            raise RuntimeError("pulled the plug")
        return step(self, batch, number)

    patch.setattr(ClassificationTask, "training_step", torn)


def stopped(bars: Path, folder: Path, batches: int, *settings: str, **how: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, batches)
        with pytest.raises(RuntimeError, match="plug"):
            fit(small_recipe(*settings), bars, folder, **how)


def rates(run: Path) -> list[float]:
    rows = read_metrics(run / "logs" / "metrics.csv")
    return [float(row["learning_rate"]) for row in rows if row["learning_rate"]]


KILLED = """
import os, signal, sys
from timesformer.cli.main import main
from timesformer.training.task import ClassificationTask
step, left = ClassificationTask.training_step, [int(sys.argv.pop(1))]
def torn(self, batch, number):
    if not left[0]:
        os.killpg(0, signal.SIGKILL)
    left[0] -= 1
    return step(self, batch, number)
ClassificationTask.training_step = torn
main()
"""


def test_a_run_that_is_killed_twice_ends_as_if_never_stopped(bars: Path, whole: Path, tmp_path: Path) -> None:
    """Inside epochs, its workers with it, after metrics that only TensorBoard's memory held."""
    run = tmp_path / "run"
    words = ["train", "--data", str(bars), "--recipe", "demo", "--out", str(run), *SMALL, *MIXED]
    # Seven batches are three steps and a half; five more, from the third step on, are two and a half.
    for batches, more, reached in ((7, (), 3), (5, ("--resume",), 5)):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, str(batches), *words, *more],
            capture_output=True,
            start_new_session=True,
            text=True,
        )
        assert killed.returncode == -signal.SIGKILL, killed
        assert torch.load(run / "checkpoints" / "last.ckpt")["global_step"] == reached
        time.sleep(1.1)  # TensorBoard tells files by the second they were opened in, then by process
    fit(small_recipe(*MIXED), bars, run, resume=True)
    assert_same_runs(whole, run)
    assert len(read_sessions(run)) == 3


def test_stopped_again_and_again(bars: Path, whole: Path, tmp_path: Path) -> None:
    """After 3 batches of the first epoch (one step and a half), 2 more (one step), and 6 more."""
    torn = tmp_path / "torn"
    for number, batches in enumerate((3, 2, 6)):
        stopped(bars, torn, batches, *MIXED, resume=number > 0)
    fit(small_recipe(*MIXED), bars, torn, resume=True)
    assert_same_runs(whole, torn)
    assert "  resume  after step 1\n" in (torn / "log.txt").read_text()


def test_a_finished_run_stays_as_it_is(bars: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    result = fit(small_recipe(*MIXED), bars, tmp_path / "run", resume=True)
    assert_same_runs(whole, tmp_path / "run")
    validated = [
        (float(row["val_top1"]), -float(row["val_loss"]))
        for row in read_metrics(whole / "logs" / "metrics.csv")
        if row["val_top1"]
    ]
    assert result.score == max(validated)[0]
    assert result.epoch == validated.index(max(validated)) + 1


def test_without_a_checkpoint_it_starts_anew_and_shows_nothing_twice(bars: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.rmtree(tmp_path / "run" / "model")
    with pytest.raises(
        SettingError, match=r"changed since the run started: seed was 0, is 3; --accept-changes resumes"
    ):
        fit(small_recipe(*MIXED, "seed=3"), bars, tmp_path / "run", resume=True)
    fit(small_recipe(*MIXED), bars, tmp_path / "run", resume=True)
    assert_same_runs(whole, tmp_path / "run")


def test_without_a_checkpoint_any_change_can_be_accepted(bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    other = ("model.width=16", "training.epochs=1")
    fit(small_recipe(*other), bars, tmp_path / "run", resume=True, accept_changes=True)
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["model"]["width"] == 16
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 2


def test_a_run_killed_before_its_first_session_was_written_can_be_resumed(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.txt").write_text("2026-01-01 00:00:00Z  data    ...\n")
    fit(small_recipe("training.epochs=1"), bars, tmp_path / "run", resume=True)
    assert len(read_sessions(tmp_path / "run")) == 1


def test_accepted_changes_outlive_another_stop(bars: Path, tmp_path: Path) -> None:
    """The run is stopped again before any step with the new settings is kept: recipe.yaml has them, last.ckpt not."""
    before = ("optimizer.schedule=cosine",)
    after = (*before, "training.epochs=5", "optimizer.learning_rate=0.01")
    fit(small_recipe(*after), bars, tmp_path / "longer")
    stopped(bars, tmp_path / "run", 4, *before)
    stopped(bars, tmp_path / "run", 1, *after, resume=True, accept_changes=True)
    with pytest.raises(SettingError, match=r"training\.epochs was 4, is 5"):
        fit(small_recipe(*after), bars, tmp_path / "run", resume=True)
    fit(small_recipe(*after), bars, tmp_path / "run", resume=True, accept_changes=True)
    expected, found = rates(tmp_path / "longer"), rates(tmp_path / "run")
    assert len(found) == len(expected) == 5
    assert found[2:] == pytest.approx(expected[2:])


def test_the_batches_of_an_epoch_that_has_begun_cannot_change(bars: Path, tmp_path: Path) -> None:
    steps = ("training.checkpoint_steps=1", "training.batch_size=2")
    stopped(bars, tmp_path / "run", 7, *steps)
    other = small_recipe("training.checkpoint_steps=1", "training.batch_size=4", "seed=2")
    with pytest.raises(
        SettingError,
        match=r"stopped inside an epoch, where its batches cannot change: seed was 0, is 2; "
        r"training\.batch_size was 2, is 4",
    ):
        fit(other, bars, tmp_path / "run", resume=True, accept_changes=True)
    stopped(bars, tmp_path / "run", 1, *steps, resume=True)  # to the end of the epoch
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 8
    fit(other, bars, tmp_path / "run", resume=True, accept_changes=True)
    rows = [row for row in read_metrics(tmp_path / "run" / "logs" / "metrics.csv") if row["train_loss"]]
    assert [(int(row["step"]), float(row["epoch"])) for row in rows] == [(4, 1), (8, 2), (10, 3), (12, 4)]


@pytest.mark.parametrize(("batches", "epochs", "at"), [(8, 1, "past epoch 2"), (5, 1, "inside epoch 2")])
def test_fewer_epochs_than_are_done_are_refused(bars: Path, tmp_path: Path, batches: int, epochs: int, at: str) -> None:
    """Before anything is written; the run then resumes as it was."""
    steps = ("training.checkpoint_steps=1", "training.batch_size=2")
    stopped(bars, tmp_path / "run", batches, *steps)
    files = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    fewer = small_recipe(*steps, f"training.epochs={epochs}")
    with pytest.raises(SettingError, match=rf"training\.epochs is {epochs}, but the run is already {at}"):
        fit(fewer, bars, tmp_path / "run", resume=True, accept_changes=True)
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
    fit(small_recipe(*common, after), bars, tmp_path / "run", resume=True, accept_changes=True)
    assert rates(tmp_path / "run")[2:] == pytest.approx(rates(tmp_path / "whole")[2:])


def test_changes_are_accepted_of_a_resumed_run_alone(bars: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"^--accept-changes requires --resume$"):
        fit(small_recipe(), bars, tmp_path / "run", accept_changes=True)


def test_other_videos_are_a_change_even_where_they_are_as_many(bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    stopped(tmp_path / "data", tmp_path / "run", 4)
    (tmp_path / "data/train/left/0.mp4").rename(tmp_path / "data/train/right/9.mp4")
    with pytest.raises(SettingError, match=r"changed since the run started: videos was 8 \(\w+\), is 8 \(\w+\)"):
        fit(small_recipe(), tmp_path / "data", tmp_path / "run", resume=True)
