"""What torchrun's and SLURM's variables say, and where they cannot be followed."""

from __future__ import annotations

import os

import pytest

from timesformer.data.loader import Process
from timesformer.errors import SettingError
from timesformer.training.launch import Launch, find_launch


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM", "TORCHELASTIC", "RANK", "WORLD_SIZE", "LOCAL_")):
            monkeypatch.delenv(name)


def say(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))


def test_a_single_machine_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, SLURM_NTASKS=2, SLURM_PROCID=1)
    assert find_launch() == Launch(Process(1, 2), 2, 1)


def test_an_interactive_session_of_slurm_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, SLURM_NTASKS=4, SLURM_PROCID=0, SLURM_NNODES=1, SLURM_JOB_NAME="bash")
    assert find_launch() == Launch(Process(0, 1), 1, 1)


@pytest.mark.parametrize(("tasks", "nodes"), [(6, 4), (5, 2), (2, 3)])
def test_unequal_machines_are_refused(monkeypatch: pytest.MonkeyPatch, tasks: int, nodes: int) -> None:
    say(monkeypatch, SLURM_NTASKS=tasks, SLURM_PROCID=0, SLURM_NNODES=nodes, SLURM_JOB_NAME="train")
    with pytest.raises(
        SettingError, match=rf"{tasks} processes .* {nodes} machines; every machine needs the same number"
    ):
        find_launch()
