"""Runs that resume: where they were stopped, what they compare with, and that nothing of it is lost or doubled."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import SMALL, small_recipe
from started import Started
from stops import same, stopped, stopped_again
from timesformer.errors import SettingError
from timesformer.training import trainer
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit, resume
from timesformer.training.log import read_sessions
from timesformer.weights.classifier import load_model

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


def test_a_run_that_is_killed_twice_ends_as_if_never_stopped(bars: Path, whole: Path, tmp_path: Path) -> None:
    """Inside epochs, its workers with it, after metrics that only TensorBoard's memory held."""
    run = tmp_path / "run"
    words = ["train", "--data", str(bars), "--recipe", "demo", "--out", str(run), *SMALL, *MIXED]
    # Seven batches are three steps and a half; five more, from the third step on, are two and a half.
    for batches, arguments, reached in ((7, words, 3), (5, ["train", "--resume", str(run)], 5)):
        killed = Started(*arguments, session=True, killed_after=batches)
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        assert torch.load(run / "checkpoints" / "last.ckpt")["global_step"] == reached
    resume(run)
    assert_same_runs(whole, run)
    assert len(read_sessions(run)) == 3


def test_tensorboards_files_are_of_different_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads them in the order of their names, where process 10 comes before process 9."""
    now = 4.9

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(trainer, "time", SimpleNamespace(time=lambda: now, sleep=sleep))
    trainer.wait_for_next_second(tmp_path / "none")
    (tmp_path / "events.out.tfevents.0000000003.host.9.0").touch()
    trainer.wait_for_next_second(tmp_path)
    assert now == 4.9
    (tmp_path / "events.out.tfevents.0000000004.host.9.0").touch()
    trainer.wait_for_next_second(tmp_path)
    assert 5 <= now < 5.1


def test_stopped_again_and_again(bars: Path, whole: Path, tmp_path: Path) -> None:
    """After 3 batches of the first epoch (one step and a half), 2 more (one step), and 6 more."""
    torn = tmp_path / "torn"
    stopped(bars, torn, 3, *MIXED)
    for batches in (2, 6):
        stopped_again(torn, batches)
    resume(torn)
    assert_same_runs(whole, torn)
    assert "  resume  after step 1\n" in (torn / "log.txt").read_text()


def test_a_finished_run_stays_as_it_is(bars: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    result = resume(tmp_path / "run")
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
        resume(tmp_path / "run", overrides=["seed=3"])
    resume(tmp_path / "run")
    assert_same_runs(whole, tmp_path / "run")


def test_without_a_checkpoint_any_change_can_be_accepted(bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    other = ("model.width=16", "training.epochs=1")
    resume(tmp_path / "run", overrides=other, accept_changes=True)
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["model"]["width"] == 16
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 2


def test_a_run_killed_before_it_had_started_can_be_started_again(bars: Path, run: Path, tmp_path: Path) -> None:
    """It has a log, weights to start from, metrics without a row; a folder of other files is not taken for that."""
    (tmp_path / "run" / "logs").mkdir(parents=True)
    (tmp_path / "run" / "initial").mkdir()
    for name in ("log.txt", "logs/metrics.csv", "initial/README.md"):
        (tmp_path / "run" / name).write_text("step\n")
    with pytest.raises(SettingError, match="nothing to resume; the run was stopped before it had started, start it"):
        resume(tmp_path / "run")
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(SettingError, match="is not empty; a run needs a folder of its own"):
        fit(small_recipe(), bars, tmp_path / "run")
    (tmp_path / "run" / "mine.txt").unlink()
    fit(small_recipe("training.epochs=1"), bars, tmp_path / "run", init=run)
    assert len(read_sessions(tmp_path / "run")) == 1
    assert load_model(tmp_path / "run" / "initial").labels == ("left", "right")


@pytest.mark.parametrize("batches", [0, 3, 6])
def test_a_resumed_run_does_not_open_the_weights_it_started_from(
    bars: Path, run: Path, tmp_path: Path, batches: int
) -> None:
    """They are gone, before the first checkpoint, inside the first epoch or in a later one; they have a size, a head
    and pixels that the recipe has not."""
    other = load_model(run)
    other = dataclasses.replace(
        other, labels=("up", "down"), preprocessing=other.preprocessing.model_copy(update={"mean": (0.1, 0.2, 0.3)})
    )
    settings = ("model.width=16", "model.image_size=8", "training.batch_size=2", "training.checkpoint_steps=1")
    for name in ("whole", "run"):
        other.save_pretrained(tmp_path / "weights")
        if name == "whole":
            fit(small_recipe(*settings), bars, tmp_path / name, init=tmp_path / "weights")
            continue
        stopped(bars, tmp_path / name, max(batches, 1), *settings, init=tmp_path / "weights")
        shutil.rmtree(tmp_path / "weights")
    if batches == 0:
        shutil.rmtree(tmp_path / "run" / "checkpoints")
    resume(tmp_path / "run")
    one, two = (load_model(tmp_path / name) for name in ("whole", "run"))
    assert (one.model.settings, one.preprocessing, one.labels) == (two.model.settings, two.preprocessing, two.labels)
    assert one.preprocessing.mean == (0.1, 0.2, 0.3)
    assert same(one.model.state_dict(), two.model.state_dict())
    assert [session["init"] for session in read_sessions(tmp_path / "run")] == [str(tmp_path / "weights")] * 2


def test_a_run_of_an_earlier_version_resumes_with_what_its_folder_has(bars: Path, run: Path, tmp_path: Path) -> None:
    """It has not kept the weights that it started from; after the first epoch RUN/model stands in for them."""
    fit(small_recipe(), bars, tmp_path / "whole", init=run)
    stopped(bars, tmp_path / "run", 5, init=run)
    shutil.rmtree(tmp_path / "run" / "initial")
    resume(tmp_path / "run")
    assert same(*(load_model(tmp_path / name).model.state_dict() for name in ("whole", "run")))


def test_data_that_have_moved_are_named(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is that of the folder that the run was started in, wherever it is resumed."""
    shutil.copytree(bars, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    fit(small_recipe("training.epochs=1"), "data", "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    longer: dict[str, Any] = {"overrides": ["training.epochs=2"], "accept_changes": True}
    assert resume("../run", **longer).epoch in (1, 2)
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(SettingError, match=r"its data are no longer in .*/data; name their folder with --data"):
        resume("../run")
    resume("../run", data="../moved")
    monkeypatch.chdir(tmp_path)
    resume("run")
    assert len(read_sessions(tmp_path / "run")) == 4
