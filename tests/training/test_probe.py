"""Probes: the head that is saved is the head that was chosen, on the backbone as it came."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from conftest import small_recipe
from timesformer.config import Data, Recipe
from timesformer.data.manifest import read_manifest
from timesformer.evaluation.test import test as run_test
from timesformer.training.fit import fit
from timesformer.training.log import Log
from timesformer.training.probe import Features, train_probe
from timesformer.weights import Classifier, open_weights


def probe_recipe(*overrides: str) -> Recipe:
    return small_recipe("probe.learning_rates=[0.0001,0.05]", "training.epochs=20", "training.batch_size=8", *overrides)


def silent(folder: Path) -> Log:
    return Log(folder, Console(quiet=True))


def separable(classifier: Classifier, clips: int, seed: int) -> Features:
    """Features of two classes that one direction tells apart, far from zero and of very unequal scale."""
    generator = torch.Generator().manual_seed(seed)
    width = classifier.model.settings.dimensions.width
    labels = torch.arange(clips) % 2
    features = torch.randn(clips, width, generator=generator)
    features[:, 3] += 4.0 * labels - 2.0
    scale = torch.logspace(-2, 2, width)
    return Features(features * scale + 5 * scale, labels, torch.arange(clips))


def test_the_scaling_is_folded_into_the_head(run: Path, tmp_path: Path) -> None:
    classifier = open_weights(run)
    training, validation = separable(classifier, 200, 0), separable(classifier, 100, 1)
    result, chosen = train_probe(classifier, probe_recipe(), training, validation, silent(tmp_path))
    with torch.no_grad():
        answers = result.model.head(validation.features).argmax(1)
    assert float((answers == validation.labels_N).float().mean()) == pytest.approx(chosen.top1)
    assert chosen.top1 > 0.9
    assert chosen.rate == 0.05
    for name, tensor in classifier.model.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(result.model.state_dict()[name], tensor), name


def test_without_val_all_videos_train_and_none_that_chose_was_trained_on(run: Path, tmp_path: Path) -> None:
    classifier = open_weights(run)
    training = separable(classifier, 200, 0)
    result, chosen = train_probe(classifier, probe_recipe(), training, None, silent(tmp_path))
    whole = separable(classifier, 400, 2)
    with torch.no_grad():
        answers = result.model.head(whole.features).argmax(1)
    assert float((answers == whole.labels_N).float().mean()) > 0.9
    # Labels that have nothing to do with the features: a video that was trained on would look known.
    noise = training._replace(labels_N=torch.randint(2, (200,), generator=torch.Generator().manual_seed(3)))
    _, chosen = train_probe(classifier, probe_recipe(), noise, None, silent(tmp_path))
    assert chosen.top1 < 0.75


@pytest.mark.parametrize("pooling", ["class_token", "attentive"])
def test_a_whole_probe(bars: Path, run: Path, tmp_path: Path, pooling: str) -> None:
    recipe = probe_recipe(f"model.pooling={pooling}", "preprocessing.test_crops=1")
    result = fit(recipe, bars, tmp_path / "probe", init=run)
    assert result.watched == "val"
    probed = open_weights(tmp_path / "probe")
    assert probed.model.settings.pooling == pooling
    # What the run found on val is what a test of the saved classifier finds there.
    found = run_test(probed, read_manifest(bars, "val"), Data(workers=0))
    assert found.metrics.top1 == pytest.approx(result.score)
    before = open_weights(run).model.state_dict()
    for name, tensor in probed.model.state_dict().items():
        if not name.startswith(("head.", "pooling.")):
            assert torch.equal(before[name], tensor), name
    kept = load_file(tmp_path / "probe" / "features" / "train.safetensors")
    tokens = 1 + 4 * (16 // 8) ** 2
    assert tuple(kept["features"].shape) == ((8, 32) if pooling == "class_token" else (8, tokens, 32))


def test_features_are_computed_once(bars: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    first = open_weights(tmp_path / "probe").model.state_dict()
    shutil.rmtree(tmp_path / "probe" / "model")
    monkeypatch.setattr("timesformer.training.probe.normalise", None)  # computing features would call it
    fit(probe_recipe(), bars, tmp_path / "probe", init=run, resume=True)
    second = open_weights(tmp_path / "probe").model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_run_says_which_rate_was_best(bars: Path, run: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    fit(probe_recipe(), bars, tmp_path / "probe", init=run, console=console)
    assert isinstance(console.file, io.StringIO)
    assert "probe   of the learning rates 0.0001, 0.05 the best on the val split is" in console.file.getvalue()
