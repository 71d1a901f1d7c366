"""What a run is held against, by sklearn and by counting; where it is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score, top_k_accuracy_score

from conftest import small_recipe
from probes import probe_recipe
from timesformer.data.lists import LabelledVideo
from timesformer.data.manifest import Manifest
from timesformer.training.fit import fit, resume
from timesformer.training.floors import find_floors, majority_floor
from timesformer.weights.classifier import load_model


def manifest(split: str, labels: list[tuple[int, ...]], classes: int, *, multilabel: bool = False) -> Manifest:
    videos = tuple(LabelledVideo(Path(f"{number}.mp4"), of) for number, of in enumerate(labels))
    return Manifest(Path(), Path(f"{split}.csv"), split, tuple("abcdefgh"[:classes]), videos, multilabel)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_majority_is_sklearns(classes: int) -> None:
    random = np.random.default_rng(classes)
    chances = np.arange(1, classes + 1) / sum(range(1, classes + 1))
    train, val = (random.choice(classes, size, p=chances) for size in (60, 40))
    dummy = DummyClassifier(strategy="prior").fit(train.reshape(-1, 1), train)
    answers, scores = dummy.predict(val.reshape(-1, 1)), dummy.predict_proba(val.reshape(-1, 1))
    floor = majority_floor(
        manifest("train", [(int(y),) for y in train], classes), manifest("val", [(int(y),) for y in val], classes)
    )
    expected = {"top1": (answers == val).mean(), "mean_class_accuracy": balanced_accuracy_score(val, answers)}
    if classes == 2:
        expected["auc"] = roc_auc_score(val, scores[:, 1])
    if classes > 5:
        expected["top5"] = top_k_accuracy_score(val, scores, k=5, labels=range(classes))
    assert dict(floor.metrics) == pytest.approx(expected, abs=1e-6)
    assert floor.what == f"most frequent class ({'abcdefgh'[int(answers[0])]})"


def test_it_is_the_training_splits_class() -> None:
    """Which is not the most frequent one of the videos that are validated."""
    floor = majority_floor(manifest("train", [(0,), (1,), (1,)], 2), manifest("test", [(0,), (0,), (0,), (1,)], 2))
    assert floor.line == "floor   most frequent class (b) on test: top-1 0.250, mean class accuracy 0.500, AUC 0.500"


def test_equal_scores_for_all_videos_with_several_classes() -> None:
    train = manifest("train", [(0,), (0, 1), ()], 3, multilabel=True)
    of = [(0,), (0, 1), (), (0,), (2,)]
    floor = majority_floor(train, manifest("val", of, 3, multilabel=True))
    truth = np.array([[label in labels for label in range(3)] for labels in of])
    expected = average_precision_score(truth, np.full((5, 3), 0.3))
    assert dict(floor.metrics) == pytest.approx({"map": expected}, abs=1e-6)
    assert expected == pytest.approx((3 / 5 + 1 / 5 + 1 / 5) / 3)


def test_nothing_is_validated() -> None:
    assert find_floors(manifest("train", [(0,), (1,)], 2), None) == ()


def test_a_run_says_and_keeps_what_it_is_held_against(bars: Path, run: Path) -> None:
    log = (run / "log.txt").read_text()
    assert "floor   most frequent class (left) on val: top-1 0.500, mean class accuracy 0.500, AUC 0.500\n" in log
    assert log.index("floor ") < log.index("epoch   1/4")
    kept = json.loads((run / "result.json").read_text())
    majority = {"top1": 0.5, "mean_class_accuracy": 0.5, "auc": 0.5}
    assert (kept["floors"], kept["split"], kept["videos"]) == ({"majority": majority}, "val", 4)
    facts = load_model(run).facts
    assert facts["floor: most frequent class (left)"] == "top-1 0.500, mean class accuracy 0.500, AUC 0.500 on val"
    assert facts["95% interval"].endswith(", of 4 videos")


def test_a_probe_too(bars: Path, run: Path, tmp_path: Path) -> None:
    fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    assert "floor   most frequent class (left) on val: top-1 0.500" in (tmp_path / "probe" / "log.txt").read_text()
    assert json.loads((tmp_path / "probe" / "result.json").read_text())["floors"].keys() == {"majority"}


def test_a_resumed_run_ends_with_the_same_result(bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    resume(tmp_path / "run")
    first, again = (json.loads((folder / "result.json").read_text()) for folder in (run, tmp_path / "run"))
    assert again | {"model": first["model"]} == first
    assert first["metrics"].keys() == {"loss", "top1", "mean_class_accuracy", "auc"}
    assert first["metrics"]["top1"] == first["score"]


def test_without_any_split_to_validate_on(bars: Path, tmp_path: Path) -> None:
    shutil.copytree(bars / "train", tmp_path / "data" / "train")
    result = fit(small_recipe("training.epochs=1"), tmp_path / "data", tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (kept["score"], kept["split"], kept["interval"], kept["floors"]) == (None, None, None, {})
    assert result.summary() == "the classifier of epoch 1"
