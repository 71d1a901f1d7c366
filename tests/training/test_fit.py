"""Whole runs, small enough for a second each."""

from __future__ import annotations

import io
import shutil
import signal
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import LightningModule
from rich.console import Console

from conftest import small_recipe
from timesformer.config import Recipe
from timesformer.data.dataset import Batch
from timesformer.errors import DataError, SettingError
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit, resume
from timesformer.training.task import ClassificationTask
from timesformer.weights.classifier import load_model


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder).model.state_dict()


def assert_bit_equal(first: Path, second: Path) -> None:
    one, two = tensors(first), tensors(second)
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_a_run_leaves_what_it_promises(run: Path) -> None:
    assert Recipe(**yaml.safe_load((run / "recipe.yaml").read_text())) == small_recipe()
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt"}
    classifier = load_model(run)
    assert classifier.labels == ("left", "right")
    assert classifier.preprocessing == small_recipe().preprocessing
    rows = read_metrics(run / "logs" / "metrics.csv")
    assert [float(row["epoch"]) for row in rows if row["val_top1"]] == [1, 2, 3, 4]
    assert [int(row["step"]) for row in rows if row["val_top1"]] == [2, 4, 6, 8]
    assert list((run / "logs" / "tensorboard").rglob("events.*"))


def test_it_learns(bars: Path, tmp_path: Path) -> None:
    recipe = small_recipe("training.epochs=30", "optimizer.learning_rate=0.003", "augmentation.short_side=[16, 16]")
    fit(recipe, bars, tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "logs" / "metrics.csv")
    losses = [float(row["train_loss"]) for row in rows if row["train_loss"]]
    assert losses[0] > 0.5
    assert losses[-1] < 0.1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_same_seed_gives_the_same_bits_whatever_the_workers(bars: Path, run: Path, tmp_path: Path) -> None:
    fit(small_recipe("data.workers=2"), bars, tmp_path / "again")
    assert_bit_equal(run, tmp_path / "again")
    fit(small_recipe("seed=1"), bars, tmp_path / "other")
    assert not torch.equal(tensors(run)["head.weight"], tensors(tmp_path / "other")["head.weight"])


def test_two_batches_accumulated_are_one_of_twice_the_size(bars: Path, tmp_path: Path) -> None:
    common = ("optimizer.name=sgd", "optimizer.learning_rate=0.1", "training.epochs=2")
    fit(small_recipe(*common), bars, tmp_path / "whole")
    fit(small_recipe(*common, "training.batch_size=2", "training.accumulate=2"), bars, tmp_path / "halves")
    whole, halves = tensors(tmp_path / "whole"), tensors(tmp_path / "halves")
    for name in whole:
        torch.testing.assert_close(halves[name], whole[name], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_stopped_run_resumes_to_the_same_weights(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    recipe = small_recipe("model.dropout=0.2", "training.batch_size=3", f"data.workers={workers}")
    fit(recipe, bars, tmp_path / "whole")
    rows: list[tuple[int, list[int]]] = []
    step = ClassificationTask.training_step

    def recorded(self: ClassificationTask, batch: Batch, number: int) -> torch.Tensor | None:
        rows.append((self.current_epoch, batch.rows_B.tolist()))
        return step(self, batch, number)

    monkeypatch.setattr(ClassificationTask, "training_step", recorded)

    def stop(self: LightningModule) -> None:
        if self.current_epoch == 2:
            raise RuntimeError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "on_train_epoch_start", _before(stop))
        with pytest.raises(RuntimeError, match="plug"):
            fit(recipe, bars, tmp_path / "torn")
    before = len(rows)
    result = resume(tmp_path / "torn")
    assert result.score is not None
    assert [epoch for epoch, _ in rows[before:]] == [2, 2, 2, 3, 3, 3]  # nothing is trained on twice
    assert_bit_equal(tmp_path / "whole", tmp_path / "torn")


def _before(stop):  # type: ignore[no-untyped-def]
    original = ClassificationTask.on_train_epoch_start

    def both(self: ClassificationTask) -> None:
        stop(self)
        original(self)

    return both


def test_ctrl_c_keeps_the_last_whole_epoch(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: LightningModule) -> None:
        if self.current_epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ClassificationTask, "on_train_epoch_start", _before(interrupt))
    with pytest.raises(KeyboardInterrupt) as stop:
        fit(small_recipe(), bars, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert last.exists()
    assert (tmp_path / "run" / "curves.png").exists()  # which a stop draws, the epochs having been short
    said = (tmp_path / "run" / "log.txt").read_text()
    command = f"timesformer train --resume {tmp_path / 'run'}"
    assert said.endswith(f"  stopped; the last good checkpoint is {last}; continue with `{command}`\n")
    assert stop.value.__notes__ == [f"the last good checkpoint is {last}; continue with `{command}`"]
    assert load_model(tmp_path / "run").labels == ("left", "right")


def test_resume_refuses_another_recipe_and_names_the_change(run: Path) -> None:
    with pytest.raises(SettingError, match=r"optimizer\.learning_rate was 0\.002, is 0\.1"):
        resume(run, overrides=["optimizer.learning_rate=0.1"])


def test_a_finished_run_is_not_overwritten(bars: Path, run: Path) -> None:
    before = (run / "model" / "model.safetensors").read_bytes()
    with pytest.raises(
        SettingError, match=r"already holds a run; `timesformer train --resume .*run` continues it, or name another"
    ):
        fit(small_recipe(), bars, run)
    assert (run / "model" / "model.safetensors").read_bytes() == before


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="nothing to resume"):
        resume(tmp_path / "none")


def test_data_that_cannot_be_trained_on(bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars / "train" / "left", tmp_path / "data" / "train" / "left")
    with pytest.raises(DataError, match=r"1 class \(left\); a classifier needs at least 2"):
        fit(small_recipe(), tmp_path / "data", tmp_path / "run")
    shutil.copytree(bars / "train" / "right", tmp_path / "data" / "train" / "right")
    shutil.copytree(bars / "val" / "left", tmp_path / "data" / "val" / "up")
    with pytest.raises(DataError, match="class up is unknown; the classes are left, right"):
        fit(small_recipe(), tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_bad_video_is_reported_counted_and_skipped(bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    bad = tmp_path / "data" / "train" / "left" / "0.mp4"
    bad.write_bytes(b"")
    console = Console(record=True, file=io.StringIO())
    result = fit(small_recipe("data.max_bad_fraction=0.2"), tmp_path / "data", tmp_path / "run", console=console)
    assert [problem.path for problem in result.skipped] == [bad]
    assert console.export_text().count(f"skipped {bad}: the file is empty") == 1


def test_too_many_bad_videos_stop_the_run_and_leave_nothing(bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    (tmp_path / "data" / "train" / "left" / "0.mp4").write_text("not a video")
    with pytest.raises(DataError, match=r"1 of 8 videos cannot be read.*data.max_bad_fraction.*0.mp4"):
        fit(small_recipe(), tmp_path / "data", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_below_a_file_is_one_line(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SettingError, match=r"file/run: cannot create this folder: Not a directory"):
        fit(small_recipe(), bars, tmp_path / "file" / "run")
    assert (tmp_path / "file").read_text() == "mine"


def test_after_ctrl_c_the_process_can_be_interrupted_again(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning ignores interrupts from the first one on, which would leave a notebook without any."""
    handler = signal.getsignal(signal.SIGINT)

    def interrupt(self: LightningModule) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ClassificationTask, "on_train_epoch_start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(small_recipe(), bars, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is handler


def test_small_data_make_small_steps_and_rates(bars: Path, tmp_path: Path) -> None:
    """Eight videos: a batch of 16 is of 8, a step of 8 batches of 4 is of 2."""
    common = (
        "training.epochs=1",
        "optimizer.scale_learning_rate=linear",
        "optimizer.learning_rate=0.032",
        "optimizer.warmup_epochs=0",
        "optimizer.reference_batch=32",
    )
    for settings, said in (
        (
            ("training.batch_size=16",),
            "8 clips a step = 1 process x 8 clips x 1 accumulated, adamw, learning rate 0.0",
        ),
        (("training.batch_size=4", "training.accumulate=8"), "8 clips a step = 1 process x 4 clips x 2 accumulated"),
        (("training.batch_size=2", "training.accumulate=3"), "6 clips a step = 1 process x 2 clips x 3 accumulated"),
    ):
        out = tmp_path / settings[0]
        fit(small_recipe(*common, *settings), bars, out)
        log = (out / "log.txt").read_text()
        assert said in log
        assert ("the last step of an epoch has 2 clips" in log) == (settings[-1] == "training.accumulate=3")


def test_the_last_step_of_an_epoch_is_a_mean_of_its_own_clips(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four batches three make a step; the fourth alone has the gradient that it has as a step of its own."""
    seen: list[torch.Tensor] = []

    def recorded(self: ClassificationTask, *given: object, **named: object) -> None:
        assert self.model.head.weight.grad is not None
        seen.append(self.model.head.weight.grad.clone())

    monkeypatch.setattr(ClassificationTask, "configure_gradient_clipping", recorded)
    common = ("optimizer.name=sgd", "optimizer.learning_rate=1e-12", "training.batch_size=2", "training.epochs=1")
    for accumulate in (1, 3):
        fit(small_recipe(*common, f"training.accumulate={accumulate}"), bars, tmp_path / f"{accumulate}")
    assert len(seen) == 4 + 2
    torch.testing.assert_close(seen[4], torch.stack(seen[:3]).mean(0))
    torch.testing.assert_close(seen[5], seen[3])


def test_a_list_of_videos_to_skip(bars: Path, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    file.write_text("path,reason\ntrain/left/0.mp4,cut\nval/left/0.mp4,cut\n")
    fit(small_recipe("training.epochs=1", f"data.quarantine={file}"), bars, tmp_path / "run")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "7 training videos, 3 validation videos (val)" in log
    assert "1 quarantined videos of train are skipped" in log


@pytest.mark.parametrize("initialisation", ["released", "scratch"])
@pytest.mark.parametrize("given", [True, False])
def test_random_weights_that_wait_for_others_are_a_warning(
    bars: Path, run: Path, tmp_path: Path, initialisation: str, given: bool
) -> None:
    recipe = small_recipe(f"model.initialisation={initialisation}", "training.epochs=1")
    fit(recipe, bars, tmp_path / "run", init=run if given else None)
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    warnings = [line.partition("Z  ")[2] for line in lines if "warning" in line and "warning after epoch" not in line]
    expected = (
        "warning all 0.02 M weights are random: give those of a video model or an image ViT (--init WEIGHTS), or train "
        "from scratch with model.initialisation=scratch"
    )
    assert warnings == ([expected] if initialisation == "released" and not given else [])
