"""What a run that fails says, and what it leaves."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from conftest import SMALL, SMALL_PROBE, small_recipe
from started import Started, wait_for
from timesformer.data.dataset import Batch
from timesformer.errors import SettingError, TrainingError
from timesformer.recipes import load_recipe
from timesformer.training.fit import fit, resume
from timesformer.training.task import ClassificationTask

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_a_full_disk_keeps_the_last_good_checkpoint(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bytes] = []
    save = torch.save

    def full(content: Any, stream: Any, *more: Any, **named: Any) -> None:
        if content["epoch"] == 2:
            kept.append((tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes())
            stream.write(b"half of a checkpoint")
            raise OSError(28, "No space left on device")
        save(content, stream, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr("timesformer.training.checkpoint.torch.save", full)
        words = r"cannot be written: .*No space left.*; the previous one is unharmed; the last good"
        with pytest.raises(TrainingError, match=words):
            fit(small_recipe(), bars, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes() == kept[0]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["last.ckpt"]
    resume(tmp_path / "run")


def test_a_loss_that_is_nan_names_the_videos(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss = ClassificationTask._loss

    def broken(self: ClassificationTask, batch: Batch) -> torch.Tensor:
        found = loss(self, batch)
        return found * float("nan") if self.trainer.global_step == 3 else found

    monkeypatch.setattr(ClassificationTask, "_loss", broken)
    with pytest.raises(
        TrainingError,
        match=r"the loss is nan in epoch 2, batch 2 \(step 3\), of the videos .*\.mp4, .*"
        r"\.mp4; the last good checkpoint is .*last\.ckpt",
    ) as stop:
        fit(small_recipe(), bars, tmp_path / "run")
    assert str(stop.value).count(str(bars / "train")) == 4  # the four clips of the batch
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 2


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] can't allocate memory: 9 GB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
        RuntimeError("unable to allocate shared memory(shm) for file"),
    ],
)
def test_out_of_memory_says_what_to_lower(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(self: ClassificationTask, *given: Any) -> None:
        raise error

    monkeypatch.setattr(ClassificationTask, "_loss", full)
    words = "out of memory: lower training.batch_size .*training.precision=bf16-mixed; there is no checkpoint yet"
    with pytest.raises(TrainingError, match=words):
        fit(small_recipe(), bars, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_probe_that_is_out_of_memory_says_so_too(
    bars: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("timesformer.training.probe.choose_on", full)
    recipe = load_recipe("probe", SMALL_PROBE)
    with pytest.raises(TrainingError, match=r"out of memory: try fewer of probe\.heads .*/features is kept"):
        fit(recipe, bars, tmp_path / "run", init=run)


def test_a_decoding_process_that_died_names_its_video_and_its_setting(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*given: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("timesformer.data.dataset.training_views", killed)
    with pytest.raises(
        TrainingError, match=r"\.mp4: the process that decodes it died, SIGKILL, .*; lower data.workers .*; there is no"
    ):
        fit(small_recipe("data.workers=2"), bars, tmp_path / "run")


def test_ctrl_c_before_the_first_checkpoint_leaves_nothing(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: ClassificationTask, *given: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ClassificationTask, "_loss", interrupt)
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        console = Console(file=io.StringIO(), width=200)
        with pytest.raises(KeyboardInterrupt) as stop:
            fit(small_recipe(), bars, tmp_path / name, console=console)
        assert stop.value.__notes__ == ["there is no checkpoint yet"]
        assert isinstance(console.file, io.StringIO)
        assert "stopped" not in console.file.getvalue()  # who catches it says so, once
    assert not (tmp_path / "new").exists()
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_terminated_process_group_ends_like_ctrl_c(bars: Path, tmp_path: Path) -> None:
    """Its workers get the signal too, and end before it ends them."""
    words = ("--data", bars, "--recipe", "demo", "--out", tmp_path / "run", *SMALL)
    process = Started("train", *words, "training.epochs=500", "data.workers=2", session=True)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    wait_for(checkpoint, process)
    os.killpg(process.pid, signal.SIGTERM)
    _, errors = process.communicate()
    command = f"continue with `timesformer train --resume {tmp_path / 'run'}`"
    assert errors.splitlines() == [f"timesformer: stopped; the last good checkpoint is {checkpoint}; {command}"]
    assert process.returncode == 130
    assert torch.load(checkpoint)["global_step"] > 0


def test_a_folder_of_something_else_is_left_alone(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("mine")
    with pytest.raises(SettingError, match="is not empty; a run needs a folder of its own"):
        fit(small_recipe(), bars, tmp_path)
    assert (tmp_path / "recipe.yaml").read_text() == "mine"


def test_devices_and_precisions_that_are_not_there(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SettingError, match=r"training.device is cuda, which this machine does not have"):
        fit(small_recipe("training.device=cuda"), bars, tmp_path / "run")
    with pytest.raises(SettingError, match=r"training.precision is 16-mixed; a CPU computes in 32-true or bf16-mixed"):
        fit(small_recipe("training.precision=16-mixed"), bars, tmp_path / "run")
