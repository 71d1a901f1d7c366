"""Runs that are stopped after a number of batches, and what they are compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import small_recipe
from timesformer.data.dataset import Batch
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit, resume
from timesformer.training.task import ClassificationTask


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(one, two) for one, two in zip(first, second, strict=True))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else bool(first == second)


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


def stopped_again(folder: Path, batches: int, *settings: str, **how: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, batches)
        with pytest.raises(RuntimeError, match="plug"):
            resume(folder, overrides=settings, **how)


def rates(run: Path) -> list[float]:
    rows = read_metrics(run / "logs" / "metrics.csv")
    return [float(row["learning_rate"]) for row in rows if row["learning_rate"]]
