"""Probes: the head that is saved is the head that was chosen, on the backbone as it came."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from conftest import SMALL, small_recipe
from timesformer.config import Data, Recipe
from timesformer.data.manifest import read_manifest
from timesformer.errors import DataError, SettingError
from timesformer.evaluation.test import test as run_test
from timesformer.recipes import load_recipe
from timesformer.training.fit import fit
from timesformer.training.log import Log
from timesformer.training.probe import Features, train_probe
from timesformer.weights import Classifier, open_weights


def probe_recipe(*overrides: str) -> Recipe:
    common = (
        "model.patch_size=8",
        "probe.learning_rates=[0.0001,0.05]",
        "training.epochs=20",
        "training.batch_size=8",
        "training.precision=32-true",
    )
    return load_recipe("probe", (*SMALL, *common, *overrides))


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
    monkeypatch.setattr("timesformer.training.features.normalise", None)  # computing features would call it
    fit(probe_recipe(), bars, tmp_path / "probe", init=run, resume=True)
    second = open_weights(tmp_path / "probe").model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_run_says_which_rate_was_best(bars: Path, run: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    fit(probe_recipe(), bars, tmp_path / "probe", init=run, console=console)
    assert isinstance(console.file, io.StringIO)
    assert "probe   of the learning rates 0.0001, 0.05 the best on the val split is" in console.file.getvalue()


def test_features_of_other_weights_or_settings_are_not_used(bars: Path, run: Path, tmp_path: Path) -> None:
    """Changes are refused as those of any run are; where they are accepted, all is computed anew."""
    fit(small_recipe("seed=5"), bars, tmp_path / "other")
    fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    for recipe, init, change in (
        (probe_recipe(), tmp_path / "other", "init was "),
        (probe_recipe("model.num_frames=6"), run, "model.num_frames was 4, is 6"),
    ):
        with pytest.raises(SettingError, match=f"changed since the run began: .*{change}"):
            fit(recipe, bars, tmp_path / "probe", init=init, resume=True)
        fit(recipe, bars, tmp_path / "probe", init=init, resume=True, accept_changes=True)
        fit(recipe, bars, tmp_path / "expected", init=init)
        for split in ("train", "val"):
            kept, expected = (
                load_file(tmp_path / folder / "features" / f"{split}.safetensors")["features"]
                for folder in ("probe", "expected")
            )
            assert torch.equal(kept, expected)
        shutil.rmtree(tmp_path / "expected")


def test_weights_that_changed_under_their_name_are_seen(bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "weights")
    fit(probe_recipe(), bars, tmp_path / "probe", init=tmp_path / "weights")
    before = load_file(tmp_path / "probe" / "features" / "val.safetensors")["features"]
    fit(small_recipe("seed=5"), bars, tmp_path / "other")
    shutil.copyfile(tmp_path / "other/model/model.safetensors", tmp_path / "weights/model.safetensors")
    fit(probe_recipe(), bars, tmp_path / "probe", init=tmp_path / "weights", resume=True)
    assert "features of val that were kept are of another backbone: anew" in (tmp_path / "probe/log.txt").read_text()
    assert not torch.equal(load_file(tmp_path / "probe" / "features" / "val.safetensors")["features"], before)


def test_other_videos_are_seen_even_where_they_are_as_many(bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    fit(probe_recipe(), tmp_path / "data", tmp_path / "probe", init=run)
    (tmp_path / "data/train/left/0.mp4").rename(tmp_path / "data/train/right/9.mp4")
    with pytest.raises(SettingError, match=r"videos was 8 \(\w+\), is 8 \(\w+\)"):
        fit(probe_recipe(), tmp_path / "data", tmp_path / "probe", init=run, resume=True)


def test_videos_left_out_of_kept_features_are_still_counted(bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    bad = tmp_path / "data" / "train" / "left" / "0.mp4"
    bad.write_bytes(b"")
    recipe = probe_recipe("data.max_bad_share=0.2")
    first = fit(recipe, tmp_path / "data", tmp_path / "probe", init=run)
    again = fit(recipe, tmp_path / "data", tmp_path / "probe", init=run, resume=True)
    assert [problem.path for problem in first.left_out] == [bad]
    assert again.left_out == first.left_out
    assert (tmp_path / "probe" / "log.txt").read_text().count(f"left out: {bad}") == 1


def test_few_videos_choose_with_one_a_class(bars: Path, run: Path, tmp_path: Path) -> None:
    """Four of a class are fewer than the five of which a fifth is one."""
    for split in ("train", "test"):
        shutil.copytree(bars / split, tmp_path / "data" / split)
    result = fit(probe_recipe(), tmp_path / "data", tmp_path / "probe", init=run)
    assert "8 videos to train on, none to watch" in (tmp_path / "probe" / "log.txt").read_text()
    assert result.epoch >= 1
    assert result.score in (0.0, 0.5, 1.0)
    for label in ("left", "right"):
        for number in (1, 2, 3):
            (tmp_path / "data" / "train" / label / f"{number}.mp4").unlink()
    with pytest.raises(DataError, match="a probe without a val split needs a class of two videos"):
        fit(probe_recipe(), tmp_path / "data", tmp_path / "other", init=run)


def test_a_probe_of_nothing_is_refused(bars: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingError, match=r"name its weights with --init"):
        fit(probe_recipe(), bars, tmp_path / "probe")
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": 1}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(SettingError, match="a probe runs in one process; this one is of 2"):
        fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    assert not (tmp_path / "probe").exists()


def test_features_outlive_a_stop(bars: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for stopped, kept in (("features.normalise", False), ("probe.train_probe", True)):
        with monkeypatch.context() as patch:
            patch.setattr(f"timesformer.training.{stopped}", interrupt)
            with pytest.raises(KeyboardInterrupt):
                fit(probe_recipe(), bars, tmp_path / "probe", init=run)
        assert (tmp_path / "probe").exists() == kept
    fit(probe_recipe(), bars, tmp_path / "probe", init=run, resume=True)


@pytest.mark.parametrize(
    "setting",
    [
        "training.balance=loss",
        "training.accumulate=2",
        "training.ema=0.9",
        "optimizer.name=sgd",
        "optimizer.clip_gradient=1",
        "optimizer.learning_rate=0.1",
        "augmentation.mixup=0.2",
        "training.precision=16-mixed",
    ],
)
def test_what_a_probe_does_not_do_is_refused(setting: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(SettingError, match=rf"{name} is .*probe"):
        probe_recipe(setting)


def test_a_probe_says_how_it_trains(bars: Path, run: Path, tmp_path: Path) -> None:
    fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    said = (tmp_path / "probe" / "log.txt").read_text()
    assert "steps   20 epochs, 8 clips a step, adamw, a head each at 0.0001, 0.05, seed 0\n" in said
