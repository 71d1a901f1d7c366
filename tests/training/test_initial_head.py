"""A head that starts as the linear probe on the initial weights."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from conftest import small_recipe
from stops import same, stopped
from timesformer.config import Recipe
from timesformer.data.dataset import TestingViews
from timesformer.engine.engine import load_engine
from timesformer.errors import DataError, SettingError
from timesformer.features.store import read_features, read_notes
from timesformer.folds.run import fit_folds
from timesformer.training.fit import fit, resume
from timesformer.training.header import training_header
from timesformer.training.initial_probe import fit_initial_probe, start_from
from timesformer.training.log import Log
from timesformer.training.plan import TrainingPlan, plan_training, single_view
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import load_model
from timesformer.weights.initialise import initialise_classifier

SETTINGS = (
    "training.initial_head=probe",
    "training.probe_floor=true",
    "model.dropout=0.3",
    "model.drop_path=0.3",
    "model.depth=2",
    "training.epochs=2",
)


def recipe(*overrides: str) -> Recipe:
    return small_recipe(*SETTINGS, *overrides)


def quiet(plan: TrainingPlan) -> Log:
    plan.out.mkdir()
    return Log(plan.out, Console(quiet=True))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of other classes."""
    folder = tmp_path_factory.mktemp("weights") / "model"
    torch.manual_seed(0)
    made = initialise_classifier(recipe().model, recipe().preprocessing, ("up", "down"))
    made.classifier.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("settings", [(), ("model.pooling=mean",)], ids=["class token", "mean"])
def test_a_head_that_starts_as_the_probe_has_its_logits(
    bars: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    """On the videos to validate on, as the network that is trained computes them; all else is the weights'."""
    exact = functools.partial(load_engine, precision="fp32")
    monkeypatch.setattr("timesformer.training.initial_probe.load_engine", exact)
    plan = plan_training(recipe(*settings), bars, tmp_path / "run", weights)
    assert plan.validation is not None
    before = {name: tensor.clone() for name, tensor in plan.initialised.classifier.model.state_dict().items()}
    log = quiet(plan)
    probe = fit_initial_probe(plan, log)
    assert probe is not None
    started = start_from(probe, plan, log).initialised.classifier
    file = tmp_path / "run" / "features" / "validation.safetensors"
    with torch.no_grad():
        expected = probe.layer(read_features(file, plan.validation.folder).features)
        views = TestingViews(plan.validation, started.model.clip_shape, single_view(started.preprocessing))
        clips = torch.cat([sample.views_VCTSS for row in range(4) if (sample := views[row]).views_VCTSS is not None])
        logits = started.model.eval()(normalise(clips, started.preprocessing))
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert float(expected.std()) > 0.01
    after = started.model.state_dict()
    assert [name for name in after if not torch.equal(after[name], before[name])] == ["head.weight", "head.bias"]
    assert f"head    starts as the linear probe on the initial weights, l2 {probe.strength:g}" in (
        (tmp_path / "run" / "log.txt").read_text()
    )


def test_the_first_validation_is_the_floors(bars: Path, weights: Path, tmp_path: Path) -> None:
    """After an epoch that changes nothing; a new head is elsewhere."""
    still = ("training.epochs=1", "optimizer.learning_rate=1e-12", "training.ema=0.9")
    started = fit(recipe(*still), bars, tmp_path / "probe", init=weights)
    (_, floor) = started.floors
    for name, value in floor.metrics.items():
        assert started.metrics[name] == pytest.approx(value, abs=1e-6), name
    new = fit(recipe(*still, "training.initial_head=new"), bars, tmp_path / "new", init=weights)
    assert abs(new.metrics["loss"] - started.metrics["loss"]) > 1e-3


def test_it_is_fitted_to_what_is_trained_on_alone(bars: Path, weights: Path, tmp_path: Path) -> None:
    """Neither to the part that validates nor to any other split; and without anything to validate on, too."""
    shutil.copytree(bars / "train", tmp_path / "data" / "train")
    shutil.copytree(bars / "test", tmp_path / "data" / "test")
    settings = ("training.epochs=1", "training.validation_fraction=0.25")
    plan = plan_training(recipe(*settings), tmp_path / "data", tmp_path / "run", weights)
    assert plan.validation is not None
    fit_initial_probe(plan, quiet(plan))
    paths = read_notes(tmp_path / "run" / "features" / "train.safetensors")["paths"]
    assert sorted(paths) == sorted(
        f"train/{video.path.parent.name}/{video.path.name}" for video in plan.training.videos
    )
    assert len(paths) == 6
    shutil.rmtree(tmp_path / "data" / "test")
    alone = fit(recipe(*settings[:1]), tmp_path / "data", tmp_path / "alone", init=weights)
    assert alone.floors == ()
    assert "head    starts as the linear probe" in (tmp_path / "alone" / "log.txt").read_text()


def test_each_fold_has_a_probe_of_its_own(bars: Path, weights: Path, tmp_path: Path) -> None:
    """Without weights, folds are refused before anything is written."""
    still = recipe("training.epochs=1", "optimizer.learning_rate=1e-12")
    with pytest.raises(SettingError, match="initial_head is probe"):
        fit_folds(still, bars, tmp_path / "run", folds=2)
    assert not (tmp_path / "run").exists()
    fit_folds(still, bars, tmp_path / "run", folds=2, init=weights)
    heads = []
    for fold in ("fold1", "fold2"):
        assert "head    starts as the linear probe" in (tmp_path / "run" / fold / "log.txt").read_text()
        heads.append(load_model(tmp_path / "run" / fold).model.state_dict()["head.weight"])
    assert not torch.allclose(*heads, atol=1e-4)


@pytest.mark.parametrize("batches", [0, 3])
def test_a_stopped_run_ends_as_if_never_stopped(
    bars: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    """Before its first checkpoint, where the probe is fitted to the kept features again; after it, where it is not."""
    settings = (*SETTINGS, "training.ema=0.9")
    fit(small_recipe(*settings), bars, tmp_path / "whole", init=weights)
    with monkeypatch.context() as patch:
        patch.setattr("timesformer.training.fit.remove_new", lambda *given: None)  # as if it had been killed
        stopped(bars, tmp_path / "run", batches, *settings, init=weights)

    def unwanted(*given: object, **named: object) -> None:
        raise AssertionError("computed or fitted again")

    monkeypatch.setattr("timesformer.training.initial_probe.load_engine", unwanted)
    if batches:
        monkeypatch.setattr("timesformer.training.fit.start_from", unwanted)
    resume(tmp_path / "run")
    one, two = (torch.load(tmp_path / run / "checkpoints" / "last.ckpt")["state_dict"] for run in ("whole", "run"))
    assert same(one, two)
    first, again = ((tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", "run"))
    assert first == again


def test_a_head_that_the_weights_have_is_kept(bars: Path, weights: Path, tmp_path: Path) -> None:
    given = replace(load_model(weights), labels=("right", "left"))
    given.save_pretrained(tmp_path / "same")
    plan = plan_training(recipe(), bars, tmp_path / "run", tmp_path / "same")
    note = "note    training.initial_head is probe, but the weights have a head for these classes, which is kept"
    assert note in training_header(plan)
    assert not plan.starts_from_probe
    assert torch.equal(plan.initialised.classifier.model.state_dict()["head.bias"], given.model.head.bias.flip(0))
    assert note not in training_header(plan_training(recipe(), bars, tmp_path / "run", weights))


def few(bars: Path, data: Path) -> None:
    """Two groups, one of which is cut off to validate on."""
    shutil.copytree(bars / "train", data / "train")
    rows = [f"train/{label}/{number}.mp4,{label},{number // 2}" for label in ("left", "right") for number in range(4)]
    (data / "train.csv").write_text("\n".join(["path,label,source", *rows]) + "\n")


def several(bars: Path, data: Path) -> None:
    shutil.copytree(bars / "train", data / "train")
    (data / "train.csv").write_text("path,labels\ntrain/left/0.mp4,left;up\ntrain/right/0.mp4,right\n")


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (few, ("data.group=source", "training.validation_fraction=0.5"), "at least 2 groups in column source.*; has 1"),
        (several, (), "initial_head is probe, which needs data with one class a video"),
        (
            None,
            ("model.pooling=attentive",),
            r"the head of architecture timesformer is pooling and head",
        ),
        (None, ("training.strategy=fsdp",), r"which ddp gives to all; it is not for training.strategy fsdp"),
        (None, ("too many",), r"initial_head is probe, for at most 7 training videos, not 8; set it to new"),
        (None, ("no weights",), r"a linear layer on the features of weights; name them with --init, or set it to new"),
    ],
)
def test_what_is_refused(
    bars: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path, Path], None] | None,
    settings: tuple[str, ...],
    message: str,
) -> None:
    """In one line, before anything is written."""
    data, init = bars, None if "no weights" in settings else weights
    if make is not None:
        data = tmp_path / "data"
        make(bars, data)
    if "too many" in settings:
        monkeypatch.setattr("timesformer.training.videos.MOST_PROBED", 7)
    with pytest.raises((DataError, SettingError), match=message) as caught:
        fit(recipe(*(one for one in settings if "=" in one)), data, tmp_path / "run", init=init)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_has_begun_keeps_its_head(bars: Path, weights: Path, tmp_path: Path) -> None:
    fit(recipe("training.initial_head=new", "training.epochs=1"), bars, tmp_path / "run", init=weights)
    with pytest.raises(SettingError, match=r"than it has: training.initial_head was new, is probe"):
        resume(tmp_path / "run", overrides=["training.initial_head=probe"], accept_changes=True)
