"""A linear probe on the initial weights, which a run is held against."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from conftest import small_recipe
from timesformer.config import Recipe
from timesformer.data.dataset import TestingViews
from timesformer.engine.engine import load_engine
from timesformer.errors import DataError, EngineError
from timesformer.evaluation.metrics import measure
from timesformer.features.choice import best_value
from timesformer.features.extract import extract
from timesformer.features.linear import LinearHead
from timesformer.training.fit import fit, resume
from timesformer.training.plan import plan_training, single_view
from timesformer.weights.classifier import load_model

DROPOUT = ("model.dropout=0.3", "model.drop_path=0.3", "model.depth=2", "training.epochs=2")


def recipe(*overrides: str) -> Recipe:
    return small_recipe("training.probe_floor=true", *DROPOUT, *overrides)


@pytest.fixture(scope="module")
def weights(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of two blocks, of other classes."""
    data = tmp_path_factory.mktemp("data")
    for label in ("left", "right"):
        shutil.copytree(bars / "train" / label, data / "train" / f"other {label}")
    return fit(small_recipe(*DROPOUT), data, data / "run").model


@pytest.fixture(scope="module")
def held(bars: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with this floor. Not to be changed."""
    folder = tmp_path_factory.mktemp("held") / "run"
    fit(recipe(), bars, folder, init=weights)
    return folder


def test_it_is_a_probe_on_the_weights_before_the_first_step(
    bars: Path, weights: Path, held: Path, tmp_path: Path
) -> None:
    plan = plan_training(recipe(), bars, tmp_path / "plan", weights)
    assert plan.validation is not None
    classifier = load_model(held / "initial")
    engine = load_engine(classifier, precision="fp32", device="cpu")
    features = [
        extract(
            TestingViews(part, classifier.model.clip_shape, single_view(classifier.preprocessing)),
            engine,
            plan.recipe.data,
        )
        for part in (plan.training, plan.validation)
    ]
    head = LinearHead(2, (0.01, 0.1, 1.0, 10.0))
    best = best_value(head, features[0], plan.training.groups(None), 5, 0)
    logits = head.logits(head.fit(features[0])[best.number], features[1])
    expected = measure(logits.softmax(1), features[1].labels_N)
    kept = json.loads((held / "result.json").read_text())["floors"]
    assert kept["probe"] == pytest.approx(expected.known(), abs=1e-6)
    line = f"floor   linear probe on the initial weights on val: top-1 {expected.top1:.3f}, mean class accuracy "
    log = (held / "log.txt").read_text()
    assert line in log
    assert log.index("floor   most") < log.index(line) < log.index("epoch   1/2")
    assert "floor: linear probe on the initial weights" in load_model(held).facts


def test_the_run_is_the_same_with_it(bars: Path, weights: Path, held: Path, tmp_path: Path) -> None:
    """Dropout included: what computes the features neither draws nor changes the network's mode."""
    fit(recipe("training.probe_floor=false"), bars, tmp_path / "run", init=weights)
    one, two = (load_model(folder).model.state_dict() for folder in (held, tmp_path / "run"))
    assert [name for name in one if not torch.equal(one[name], two[name])] == []
    assert json.loads((tmp_path / "run" / "result.json").read_text())["floors"].keys() == {"majority"}


def test_a_resumed_run_has_its_features(
    bars: Path, held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(held, tmp_path / "run")

    def unwanted(*given: object, **named: object) -> None:
        raise AssertionError("features were computed again")

    monkeypatch.setattr("timesformer.training.initial_probe.load_engine", unwanted)
    resume(tmp_path / "run")
    first, again = (json.loads((folder / "result.json").read_text()) for folder in (held, tmp_path / "run"))
    assert again["floors"] == first["floors"]


def test_a_run_that_is_stopped_before_its_first_step_leaves_nothing(
    bars: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: object) -> None:
        assert (tmp_path / "run" / "features" / "train.safetensors").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("timesformer.training.fit.run_training", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe(), bars, tmp_path / "run", init=weights)
    assert not (tmp_path / "run").exists()


def test_when_there_is_none(bars: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(recipe("training.epochs=1"), bars, tmp_path / "new")
    assert not (tmp_path / "new" / "features").exists()
    for most, what in ((7, "8 training"), (3, "4 validation")):
        monkeypatch.setattr("timesformer.training.initial_probe.MOST_PROBED", most)
        data = bars
        if what == "4 validation":
            data = tmp_path / "few"
            for label in ("left", "right"):
                (data / "train" / label).mkdir(parents=True)
                shutil.copy(bars / "train" / label / "0.mp4", data / "train" / label)
            shutil.copytree(bars / "val", data / "val")
        folder = tmp_path / f"more than {most}"
        fit(recipe("training.epochs=1"), data, folder, init=weights)
        assert f"note    no probe floor: {what} videos; at most {most} are probed\n" in (folder / "log.txt").read_text()
        assert not (folder / "features").exists()


@pytest.mark.parametrize("limit", [0.1, 0.2])
def test_videos_that_cannot_be_read_count_as_in_the_training(
    bars: Path, weights: Path, tmp_path: Path, limit: float
) -> None:
    """One of eight: two are cut off to validate on, and the bad one is one of them."""
    shutil.copytree(bars / "train", tmp_path / "data" / "train")
    settings = ("training.epochs=1", "training.validation_fraction=0.25", f"data.max_bad_fraction={limit}")
    plan = plan_training(recipe(*settings), tmp_path / "data", tmp_path / "plan", weights)
    assert plan.validation is not None
    assert len(plan.validation.videos) == 2
    plan.validation.videos[0].path.write_bytes(b"")
    if limit < 1 / 8:  # the floor says why there is none, the training that it cannot go on
        with pytest.raises(DataError, match="1 of 8 videos cannot be read"):
            fit(recipe(*settings), tmp_path / "data", tmp_path / "run", init=weights)
        return
    result = fit(recipe(*settings), tmp_path / "data", tmp_path / "run", init=weights)
    assert [floor.name for floor in result.floors] == ["majority", "probe"]
    assert len(result.skipped) == 1


def test_a_floor_that_fails_stops_no_run(
    bars: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise EngineError("no engine")

    monkeypatch.setattr("timesformer.training.initial_probe.load_engine", refuse)
    result = fit(recipe("training.epochs=1"), bars, tmp_path / "run", init=weights)
    assert [floor.name for floor in result.floors] == ["majority"]
    assert "note    no probe floor: no engine\n" in (tmp_path / "run" / "log.txt").read_text()


def test_a_run_that_was_killed_before_its_first_step_starts_anew_with_its_features(
    bars: Path, weights: Path, held: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    shutil.copy(held / "log.txt", tmp_path / "run")
    for name in ("initial", "features"):
        shutil.copytree(held / name, tmp_path / "run" / name)

    def unwanted(*given: object, **named: object) -> None:
        raise AssertionError("features were computed again")

    monkeypatch.setattr("timesformer.training.initial_probe.load_engine", unwanted)
    fit(recipe(), bars, tmp_path / "run", init=weights)
    first, again = (json.loads((folder / "result.json").read_text()) for folder in (held, tmp_path / "run"))
    assert again == first | {"model": str(tmp_path / "run" / "model")}
