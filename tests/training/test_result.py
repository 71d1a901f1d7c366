"""What a run ends with: in words and in plain values."""

from __future__ import annotations

from pathlib import Path

import pytest

from timesformer.evaluation.interval import wilson_interval
from timesformer.training.floors import Floor
from timesformer.training.result import FitResult

FLOORS = (
    Floor("majority", "most frequent class (fight)", "val", {"top1": 0.5, "mean_class_accuracy": 0.5}),
    Floor("probe", "linear probe", "val", {"top1": 0.65, "mean_class_accuracy": 0.6}),
)


def test_a_small_set_is_told_how_wide_its_interval_is() -> None:
    result = FitResult(
        Path("run/model"), 9, 0.75, "top-1", "val", videos=20, floors=FLOORS, interval=wilson_interval(0.75, 20)
    )
    assert result.summary() == (
        "the classifier of epoch 9, validation top-1 0.750 (95% interval 0.531 to 0.888, 0.36 wide, of 20 videos); "
        "floors: most frequent class (fight) 0.500, linear probe 0.650"
    )


def test_a_large_one_has_a_narrow_one() -> None:
    result = FitResult(Path("run/model"), 9, 0.75, "top-1", "test", videos=2000, interval=wilson_interval(0.75, 2000))
    assert result.summary() == (
        "the classifier of epoch 9, test split top-1 0.750 (95% interval 0.731 to 0.768, of 2000 videos)"
    )


def test_plain_values() -> None:
    result = FitResult(
        Path("run/model"),
        9,
        0.75,
        "top-1",
        "val",
        metrics={"top1": 0.75},
        videos=20,
        floors=FLOORS,
        interval=wilson_interval(0.75, 20),
    )
    assert result.as_dict() == {
        "model": "run/model",
        "epoch": 9,
        "split": "val",
        "videos": 20,
        "groups": None,
        "metric": "top-1",
        "score": 0.75,
        "interval": [pytest.approx(0.531299, abs=1e-6), pytest.approx(0.888138, abs=1e-6)],
        "metrics": {"top1": 0.75},
        "floors": {
            "majority": {"top1": 0.5, "mean_class_accuracy": 0.5},
            "probe": {"top1": 0.65, "mean_class_accuracy": 0.6},
        },
        "skipped": [],
    }


def test_a_map_has_no_interval() -> None:
    result = FitResult(Path("run/model"), 2, 0.3, "mAP", "val", videos=20)
    assert result.as_dict()["interval"] is None
    assert result.summary() == "the classifier of epoch 2, validation mAP 0.300"
