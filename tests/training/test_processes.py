"""Two processes on this CPU end as one does that takes their batches together."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import SMALL, moving_bar
from started import in_processes
from timesformer.data.loader import Process
from timesformer.errors import SettingError
from timesformer.training.curves import read_metrics
from timesformer.training.launch import Launch, find_launch
from timesformer.video.encode import write_video
from timesformer.weights.classifier import load_model

COMMON = (
    *SMALL,
    "optimizer.name=sgd",
    "optimizer.learning_rate=0.1",
    "training.epochs=2",
    "data.max_bad_fraction=0.3",
    "model.depth=2",
    "training.label_smoothing=0.1",
)


def train(data: Path, out: Path, processes: int, *settings: str, killed_after: int | None = None) -> None:
    """One process, or as many as torchrun would start, each with a part of a batch of 4."""
    batch = f"training.batch_size={4 // processes}"
    start(["--data", data, "--recipe", "demo", "--out", out, *COMMON, batch, *settings], processes, killed_after)


def start(arguments: list[object], processes: int, killed_after: int | None = None) -> None:
    """`timesformer train` with these arguments in so many processes."""
    with in_processes(processes, "train", *arguments, killed_after=killed_after) as started:
        results = [process.communicate() for process in started]
    expected = 0 if killed_after is None else -signal.SIGKILL
    assert [process.returncode for process in started] == [expected] * processes, results


@pytest.fixture(scope="module")
def odd(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`bars` with one training video that cannot be read, and five videos to validate on."""
    data = tmp_path_factory.mktemp("odd") / "data"
    shutil.copytree(bars, data)
    (data / "train" / "left" / "2.mp4").write_text("not a video")
    write_video(data / "val" / "left" / "more.mp4", moving_bar(-1, 7), 10)
    return data


@pytest.fixture(scope="module")
def alone(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    train(odd, out, 1)
    return out


@pytest.mark.parametrize(("strategy", "trainable"), [("ddp", "video"), ("fsdp", "adapters")])
def test_two_processes_freeze_as_one(odd: Path, alone: Path, tmp_path: Path, strategy: str, trainable: str) -> None:
    """The same weights within 1e-6, none of them unused; and what is frozen as it was, on the disk too. The head that
    one process has as a probe is the head of both."""
    other = tmp_path / "other"
    replace(load_model(alone), labels=("up", "down")).save_pretrained(other)
    head = "probe" if strategy == "ddp" else "new"
    settings = (
        f"training.initial_head={head}",
        *COMMON,
        f"training.trainable={trainable}",
        "training.checkpoint_activations=cheap",
        "training.epochs=1",
    )
    for processes, name in ((1, "one"), (2, "two")):
        batch = f"training.batch_size={4 // processes}"
        shared = [f"training.strategy={strategy}"] if processes > 1 else []
        words = ["--data", odd, "--recipe", "demo", "--init", other, "--out", tmp_path / name]
        start([*words, *settings, batch, *shared], processes)
    before, one, two = (load_model(run).model.state_dict() for run in (alone, tmp_path / "one", tmp_path / "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-6)
    frozen = {"video": "blocks.0.mlp.0.weight", "adapters": "blocks.0.norm.weight"}[trainable]
    assert torch.equal(two[frozen], before[frozen])
    assert not torch.equal(two["head.weight"], before["head.weight"])


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_are_one(odd: Path, alone: Path, tmp_path: Path, strategy: str) -> None:
    """The same weights within 1e-6, with an unreadable video on one side and activations computed again; five videos
    are validated, each once."""
    train(odd, tmp_path / "run", 2, f"training.strategy={strategy}", "training.checkpoint_activations=cheap")
    one, two = (
        torch.load(alone / "checkpoints" / "last.ckpt"),
        torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt"),
    )
    assert one["state_dict"].keys() == two["state_dict"].keys()
    for name, tensor in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], tensor, rtol=0, atol=1e-6)
    metrics = [
        [row for row in read_metrics(run / "logs" / "metrics.csv") if row["val_top1"]]
        for run in (alone, tmp_path / "run")
    ]
    assert len(metrics[0]) == len(metrics[1]) == 2
    for first, second in zip(*metrics, strict=True):
        assert float(first["val_top1"]) in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
        for name in ("step", "epoch", "val_top1", "train_top1"):
            assert first[name] == second[name]
        for name in ("val_loss", "train_loss"):
            assert float(first[name]) == pytest.approx(float(second[name]), abs=1e-5)
    assert load_model(tmp_path / "run").labels == ("left", "right")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_resume_inside_an_epoch(odd: Path, tmp_path: Path, strategy: str) -> None:
    """Killed after three of their four batches, the metrics of the second epoch are those of all its clips."""
    settings = (f"training.strategy={strategy}", "training.checkpoint_steps=1", "data.workers=1")
    train(odd, tmp_path / "whole", 2, *settings)
    train(odd, tmp_path / "run", 2, *settings, killed_after=3)
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert (kept["global_step"], [sums[3] for sums in kept["sums"]]) == (3, [1, 1])
    start(["--resume", tmp_path / "run"], 2)
    for name in ("logs/metrics.csv", "model/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_what_torchrun_and_slurm_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM", "TORCHELASTIC", "RANK", "WORLD", "LOCAL_")):
            monkeypatch.delenv(name)
    assert find_launch() == Launch(Process(0, 1), 1, 1)
    for name, value in {"SLURM_NTASKS": 8, "SLURM_PROCID": 5, "SLURM_NNODES": 2, "SLURM_JOB_NAME": "train"}.items():
        monkeypatch.setenv(name, str(value))
    assert find_launch() == Launch(Process(5, 8), 4, 2)
    for name, value in {"RANK": 3, "WORLD_SIZE": 6, "LOCAL_WORLD_SIZE": 3, "TORCHELASTIC_RUN_ID": 1}.items():
        monkeypatch.setenv(name, str(value))
    assert find_launch() == Launch(Process(3, 6), 3, 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(SettingError, match="6 processes in all, 4 on this machine; every machine needs"):
        find_launch()
