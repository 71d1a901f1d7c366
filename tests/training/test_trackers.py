"""Trackers beside TensorBoard and CSV."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightning.pytorch.loggers.logger import DummyLogger

from conftest import small_recipe
from timesformer.errors import SettingError
from timesformer.training.fit import fit, resume


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named(bars: Path, tmp_path: Path, name: str) -> None:
    """Neither is a dependency, so neither is here when the tests run."""
    with pytest.raises(SettingError, match=f"training.loggers: {name} is not installed; pip install {name}"):
        fit(small_recipe(f"training.loggers=[{name}]"), bars, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_resumed_run_continues_in_its_tracker(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: list[str | None] = []

    class Tracker(DummyLogger):
        def __init__(self, *args: str, **named: str | None) -> None:
            super().__init__()
            asked.append(named["run_id" if name == "mlflow" else "id"])

        @property
        def version(self) -> str:
            return asked[-1] or f"run {len(asked)}"

    kind = {"mlflow": "MLFlowLogger", "wandb": "WandbLogger"}[name]
    monkeypatch.setattr(f"lightning.pytorch.loggers.{kind}", Tracker)
    fit(small_recipe("training.epochs=1", f"training.loggers=[{name}]"), bars, tmp_path / "run")
    resume(tmp_path / "run", overrides=["training.epochs=2"], accept_changes=True)
    resume(tmp_path / "run")
    assert asked == [None, "run 1", "run 1"]
