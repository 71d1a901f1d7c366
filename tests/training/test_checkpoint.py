"""A checkpoint that cannot be written leaves the previous one, and nothing else."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import small_recipe
from timesformer.errors import TrainingError
from timesformer.training.checkpoint import AtomicFiles
from timesformer.training.curves import MetricsFile
from timesformer.training.fit import fit, resume


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Writes beyond `size` bytes of a file fail as on a full disk, half of it written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def content(value: float) -> dict[str, Any]:
    return {"state_dict": {"weight": torch.full((100_000,), value)}, "global_step": 3}


@pytest.mark.parametrize("size", [0, 1000, 200_000, 399_999])
def test_a_torn_write_keeps_the_previous_checkpoint(tmp_path: Path, size: int) -> None:
    file = tmp_path / "checkpoints" / "last.ckpt"
    AtomicFiles().save_checkpoint(content(1.0), file)
    before = file.read_bytes()
    words = r"last\.ckpt: the checkpoint cannot be written: .+; the previous one is unharmed"
    with files_end_at(size), pytest.raises(TrainingError, match=words):
        AtomicFiles().save_checkpoint(content(2.0), file)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["last.ckpt"]
    AtomicFiles().save_checkpoint(content(2.0), file)
    assert float(torch.load(file)["state_dict"]["weight"][7]) == 2


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_flushed_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The disk may say only then that it is full; and an old file never gives way to one that is not on the disk."""
    file = tmp_path / "last.ckpt"
    AtomicFiles().save_checkpoint(content(1.0), file)
    before = file.read_bytes()
    made: list[str] = []

    def failing(name: str, original: Any) -> Any:
        def called(*args: Any) -> Any:
            made.append(name)
            if name == call:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*args)

        return called

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing("fsync", os.fsync))
        patch.setattr(Path, "replace", failing("replace", Path.replace))
        with pytest.raises(TrainingError, match="No space left on device"):
            AtomicFiles().save_checkpoint(content(2.0), file)
    assert made == ["fsync", "replace"][: 1 + (call == "replace")]
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_the_first_checkpoint_that_fails_says_there_is_no_previous_one(tmp_path: Path) -> None:
    with files_end_at(1000), pytest.raises(TrainingError, match="; there is no previous one"):
        AtomicFiles().save_checkpoint(content(1.0), tmp_path / "run" / "last.ckpt")
    assert list((tmp_path / "run").iterdir()) == []


def test_an_old_leftover_of_a_killed_write_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timesformer.files.LEFTOVER_S", -1)
    (tmp_path / ".last.ckpt.0123abcd.tmp").write_bytes(b"half" * 999_999)
    AtomicFiles().save_checkpoint(content(1.0), tmp_path / "last.ckpt")
    assert float(torch.load(tmp_path / "last.ckpt")["state_dict"]["weight"].sum()) == 100_000
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]


def test_a_disk_that_is_full_for_metrics_stops_the_run_in_one_line(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MetricsFile.log_metrics

    def full(self: MetricsFile, metrics: dict[str, float], step: int | None = None) -> None:
        if step == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        log(self, metrics, step)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsFile, "log_metrics", full)
        with pytest.raises(
            TrainingError,
            match=r"run: cannot be written: No space left on device; the last good "
            r"checkpoint is .*last\.ckpt",
        ):
            fit(small_recipe(), bars, tmp_path / "run")
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 4
    resume(tmp_path / "run")
    assert torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 8


def test_a_disk_that_is_full_for_the_classifier_names_the_checkpoint(bars: Path, tmp_path: Path) -> None:
    """Files of 40 kB are enough for neither: the classifier comes first, and nothing is left of the run."""
    with files_end_at(40_000), pytest.raises(TrainingError, match=r"cannot be written.*there is no checkpoint yet"):
        fit(small_recipe(), bars, tmp_path / "run")
    assert not (tmp_path / "run").exists()
