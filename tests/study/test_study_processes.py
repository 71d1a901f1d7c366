"""`timesformer study` as it is run: trainings in processes of their own, killed, and several on one study."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import Command
from conftest import SMALL, small_recipe
from started import Started, wait_until
from study_rows import read_results
from timesformer.bench.child import EndedError
from timesformer.study import perform
from timesformer.study.plan import plan_study
from timesformer.study.studies import find_study
from timesformer.study.study import run_study

CHANGING = {"minutes", "memory", "test_seconds"}
SETTINGS = (*SMALL, "training.epochs=2", "training.checkpoint_steps=1")


def lasting(out: Path) -> list[dict[str, Any]]:
    return [row.model_dump(exclude=CHANGING) for row in read_results(out / "results.csv")]


def sessions(run: Path) -> int:
    """How often a run was started and resumed."""
    file = run / "sessions.yaml"
    return len(yaml.safe_load(file.read_text())) if file.exists() else 0


def test_killed_and_then_done_by_two_processes(bars: Path, tmp_path: Path) -> None:
    """The training ends with the command that was killed. Two others then train it once, to the same table."""
    out = tmp_path / "clips"
    words = ("study", "clips", "--data", bars, "--recipe", "demo", "--out", out, "--seeds", 1, *SETTINGS)
    plan = plan_study(find_study("clips"), small_recipe(*SETTINGS), bars, out, seeds=1)
    (run,) = {task.run.folder: task.run for task in plan.tasks}.values()

    first = Started(*words)
    wait_until((run.folder / "cell.json").exists, first)
    first.kill()
    first.communicate()
    until = time.monotonic() + 240
    while run.is_busy:  # the training looks twice a second whether its command is there, and may begin meanwhile
        assert time.monotonic() < until
    stopped = sessions(run.run)
    again = [Started(*words), Started(*words)]
    said = [process.communicate() for process in again]
    assert [process.returncode for process in again] == [0, 0], said
    assert not run.is_busy
    assert sessions(run.run) - stopped in (0, 1)  # 0 where it was killed after its last step
    assert sessions(run.run) >= 1

    never = tmp_path / "never-stopped" / "clips"
    run_study(plan_study(find_study("clips"), small_recipe(*SETTINGS), bars, never, seeds=1), apart=False)
    assert lasting(out) == lasting(never)


def test_how_far_a_training_is(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its log says; of one that goes on, not what an earlier process has said."""
    plan = plan_study(find_study("clips"), small_recipe(*SETTINGS), bars, tmp_path / "clips", seeds=1)
    run = plan.tasks[0].run.run
    run.mkdir(parents=True)

    def ended(epoch: int) -> None:
        with (run / "log.txt").open("a") as log:
            log.write(f"2026-01-01 00:00:00Z  epoch {epoch}/6  loss 1.0  3.5 s\n")

    def training(function: str, arguments: dict[str, Any], *, watch: Callable[[], object]) -> dict[str, Any]:
        watch()
        for epoch in (3, 4):
            ended(epoch)
        watch()
        watch()
        ended(5)
        watch()
        raise EndedError("failed", "the plug")

    ended(2)
    monkeypatch.setattr(perform, "run_apart", training)
    said: list[str] = []
    run_study(plan, say=said.append)
    assert said[:4] == [
        f"1/1  1 clip, seed 0: {what}" for what in ("training", "epoch 4 of 6", "epoch 5 of 6", "failed: the plug")
    ]


def test_a_training_that_the_system_ends(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    def ended(*_: Any, **__: Any) -> Any:
        raise EndedError("out of memory", "ended by the system, which had no memory left")

    monkeypatch.setattr(perform, "run_apart", ended)
    out = tmp_path / "clips"
    result = command("study", "clips", "--data", bars, "--recipe", "demo", "--out", out, "--seeds", 1, *SETTINGS)
    assert result.code == 1
    assert result.out.splitlines()[-1] == "4 of 4 rows have failed; the same command tries them again"
    reasons = {row.reason for row in read_results(out / "results.csv")}
    assert reasons == {"out of memory: ended by the system, which had no memory left"}
    assert [file.name for file in (tmp_path / "runs").glob("*/*.json")] == ["failed.json"]
