"""Runs that are stopped anywhere resume as if they had never been, or say why not."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import SMALL, small_recipe
from started import Started
from timesformer.data.dataset import Batch
from timesformer.errors import SettingError
from timesformer.training.checkpoint import SaveCheckpoints
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit, resume
from timesformer.training.log import read_sessions
from timesformer.training.task import ClassificationTask

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
# All that could come out of step.
MIXED = (
    "model.dropout=0.1",
    "model.drop_path=0.2",
    "augmentation.mixup=0.3",
    "augmentation.random_ops=1",
    "training.ema=0.9",
    "training.batch_size=2",
    "training.epochs=3",
    "training.checkpoint_steps=1",
)


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(one, two) for one, two in zip(first, second, strict=True))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else bool(first == second)


def assert_same_runs(first: Path, second: Path) -> None:
    for name in ("model/model.safetensors", "logs/metrics.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    one, two = (torch.load(run / "checkpoints" / "last.ckpt") for run in (first, second))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "sums", "global_step", "epoch"):
        assert same(one[part], two[part]), part


@pytest.fixture(scope="module")
def whole(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit(small_recipe(*MIXED), bars, folder)
    return folder


@pytest.mark.parametrize("batch", [0, 1, 3, 4, 7, 11])
def test_a_run_resumes_after_any_batch(
    bars: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Four batches an epoch: inside the first, the last of one, the first of one, the last of all."""
    step, seen = ClassificationTask.training_step, 0

    def torn(self: ClassificationTask, data: Batch, number: int) -> torch.Tensor:
        nonlocal seen
        seen += 1
        if seen == batch + 1:
            raise RuntimeError("pulled the plug")
        return step(self, data, number)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "training_step", torn)
        with pytest.raises(RuntimeError, match="plug"):
            fit(small_recipe(*MIXED), bars, tmp_path / "torn")
    if batch == 0:
        assert not (tmp_path / "torn").exists()
        return
    resume(tmp_path / "torn", overrides=["data.workers=2"], accept_changes=True)
    assert_same_runs(whole, tmp_path / "torn")
    assert [session["seed"] for session in read_sessions(tmp_path / "torn")] == [0, 0]
    events = [EventAccumulator(str(run / "logs" / "tensorboard")).Reload() for run in (whole, tmp_path / "torn")]
    for tag in events[0].Tags()["scalars"]:
        one, two = ([(event.step, event.value) for event in part.Scalars(tag)] for part in events)
        assert one == two, tag


@pytest.mark.parametrize("moment", ["validation", "checkpoint"])
def test_a_run_resumes_after_an_epoch_that_was_not_kept(
    bars: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Stopped while validating, or between the epoch's metrics and its checkpoint."""

    def torn(self: Any, *given: Any) -> None:
        if (self.current_epoch if moment == "validation" else given[0].current_epoch) == 1:
            raise RuntimeError("pulled the plug")
        original(self, *given)

    owner, name = (
        (ClassificationTask, "on_validation_epoch_end")
        if moment == "validation"
        else (SaveCheckpoints, "on_train_epoch_end")
    )
    original = getattr(owner, name)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, torn)
        with pytest.raises(RuntimeError, match="plug"):
            fit(small_recipe(*MIXED), bars, tmp_path / "torn")
    resume(tmp_path / "torn")
    assert_same_runs(whole, tmp_path / "torn")


def test_a_killed_process_resumes(bars: Path, whole: Path, tmp_path: Path) -> None:
    words = ("--data", bars, "--recipe", "demo", "--out", tmp_path / "run", *SMALL, *MIXED, "data.workers=0")
    process = Started("train", *words, killed_after=5)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 5
    resume(tmp_path / "run")
    assert_same_runs(whole, tmp_path / "run")


def test_a_run_killed_before_its_first_checkpoint_starts_anew(bars: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.rmtree(tmp_path / "run" / "model")
    resume(tmp_path / "run")
    assert_same_runs(whole, tmp_path / "run")


def stopped(bars: Path, folder: Path) -> None:
    """A run of 2 of 4 epochs that was stopped then."""
    recipe = small_recipe("optimizer.schedule=cosine")
    with pytest.MonkeyPatch.context() as patch:
        step = ClassificationTask.on_train_epoch_start

        def torn(self: ClassificationTask) -> None:
            if self.current_epoch == 2:
                raise RuntimeError("pulled the plug")
            step(self)

        patch.setattr(ClassificationTask, "on_train_epoch_start", torn)
        with pytest.raises(RuntimeError, match="plug"):
            fit(recipe, bars, folder)


def rates(run: Path) -> list[float]:
    rows = read_metrics(run / "logs" / "metrics.csv")
    return [float(row["learning_rate"]) for row in rows if row["learning_rate"]]


def test_accepted_changes_take_effect_at_the_same_point(bars: Path, tmp_path: Path) -> None:
    longer = ("training.epochs=6", "optimizer.learning_rate=0.01")
    fit(small_recipe("optimizer.schedule=cosine", *longer), bars, tmp_path / "longer")
    stopped(bars, tmp_path / "run")
    with pytest.raises(SettingError) as refused:
        resume(tmp_path / "run", overrides=longer)
    for change in ("training.epochs was 4, is 6", "optimizer.learning_rate was 0.002, is 0.01", "--accept-changes"):
        assert change in str(refused.value)
    resume(tmp_path / "run", overrides=longer, accept_changes=True)
    expected, found = rates(tmp_path / "longer"), rates(tmp_path / "run")
    assert len(found) == len(expected) == 6  # one row an epoch, of its last step
    assert found[2:] == pytest.approx(expected[2:])
    assert found[:2] != pytest.approx(expected[:2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model.width": 64}, r"model\.width was 32, is 64"),
        ({"training.ema": 0.9}, r"training\.ema was None, is 0\.9"),
        ({"optimizer.name": "sgd"}, r"optimizer\.name was adamw, is sgd"),
    ],
)
def test_changes_that_cannot_be_accepted(bars: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    stopped(bars, tmp_path / "run")
    words = [f"{name}={value}" for name, value in settings.items()]
    with pytest.raises(SettingError, match=f"cannot resume with another network or optimiser than it has: .*{message}"):
        resume(tmp_path / "run", overrides=words, accept_changes=True)


def test_other_classes_are_refused(bars: Path, tmp_path: Path) -> None:
    stopped(bars, tmp_path / "run")
    shutil.copytree(bars, tmp_path / "data")
    for split in ("train", "val", "test"):
        (tmp_path / "data" / split / "right").rename(tmp_path / "data" / split / "up")
    with pytest.raises(SettingError, match=r"classes was \['left', 'right'\], is \['left', 'up'\]"):
        resume(tmp_path / "run", data=tmp_path / "data", accept_changes=True)


def test_damaged_files_are_named(bars: Path, tmp_path: Path) -> None:
    stopped(bars, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(SettingError, match=r"cannot resume, last.ckpt is damaged: "):
        resume(tmp_path / "run")
    checkpoint.write_bytes(content)
    (tmp_path / "run" / "recipe.yaml").unlink()
    with pytest.raises(SettingError, match=r"cannot resume, recipe.yaml is damaged: .*No such file"):
        resume(tmp_path / "run")
