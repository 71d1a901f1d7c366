"""Probes: the head that is saved is the head that was chosen, on the backbone as it came."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from conftest import SMALL_PROBE, small_recipe
from timesformer.config import ProbeRecipe
from timesformer.errors import DataError, SettingError
from timesformer.evaluation.evaluate import evaluate
from timesformer.recipes import load_recipe
from timesformer.training.fit import fit
from timesformer.training.log import Log
from timesformer.training.probe import Features, train_probe
from timesformer.weights.classifier import Classifier, load_model


def probe_recipe(*overrides: str) -> ProbeRecipe:
    common = ("probe.learning_rates=[0.0001,0.05]", "probe.epochs=20", "probe.batch_size=8")
    recipe = load_recipe("probe", (*SMALL_PROBE, *common, *overrides))
    assert isinstance(recipe, ProbeRecipe)
    return recipe


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
    classifier = load_model(run)
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
    classifier = load_model(run)
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
    assert result.validation_split == "val"
    probed = load_model(tmp_path / "probe")
    assert probed.model.settings.pooling == pooling
    # What the run found on val is what a test of the saved classifier finds there.
    found = evaluate(probed, bars, split="val", device="cpu", workers=0)
    assert found.metrics.top1 == pytest.approx(result.score)
    before = load_model(run).model.state_dict()
    for name, tensor in probed.model.state_dict().items():
        if not name.startswith(("head.", "pooling.")):
            assert torch.equal(before[name], tensor), name
    kept = load_file(tmp_path / "probe" / "features" / "train.safetensors")
    tokens = 1 + 4 * (16 // 8) ** 2
    assert tuple(kept["features"].shape) == ((8, 32) if pooling == "class_token" else (8, tokens, 32))


def test_features_are_computed_once(bars: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    first = load_model(tmp_path / "probe").model.state_dict()
    shutil.rmtree(tmp_path / "probe" / "model")

    def unwanted(*given: object, **named: object) -> None:
        raise AssertionError("features were computed again")

    monkeypatch.setattr("timesformer.training.probe.load_engine", unwanted)
    fit(probe_recipe(), bars, tmp_path / "probe", init=run, resume=True)
    second = load_model(tmp_path / "probe").model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_run_says_which_rate_was_best(bars: Path, run: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    fit(probe_recipe(), bars, tmp_path / "probe", init=run, console=console)
    assert isinstance(console.file, io.StringIO)
    assert "probe   of the learning rates 0.0001, 0.05, " in console.file.getvalue()


def test_features_of_other_weights_or_settings_are_not_used(bars: Path, run: Path, tmp_path: Path) -> None:
    """Changes are refused as those of any run are; where they are accepted, all is computed anew."""
    fit(small_recipe("seed=5"), bars, tmp_path / "other")
    fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    for recipe, init, change in (
        (probe_recipe(), tmp_path / "other", "init was "),
        (probe_recipe("model.num_frames=6"), run, "model.num_frames was 4, is 6"),
    ):
        with pytest.raises(SettingError, match=f"changed since the run started: .*{change}"):
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
    assert (
        "val.safetensors has a different backbone; its features are computed anew"
        in (tmp_path / "probe/log.txt").read_text()
    )
    assert not torch.equal(load_file(tmp_path / "probe" / "features" / "val.safetensors")["features"], before)


def test_other_videos_are_seen_even_where_they_are_as_many(bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    fit(probe_recipe(), tmp_path / "data", tmp_path / "probe", init=run)
    (tmp_path / "data/train/left/0.mp4").rename(tmp_path / "data/train/right/9.mp4")
    with pytest.raises(SettingError, match=r"videos was 8 \(\w+\), is 8 \(\w+\)"):
        fit(probe_recipe(), tmp_path / "data", tmp_path / "probe", init=run, resume=True)


def test_videos_skipped_in_kept_features_are_still_counted(bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    bad = tmp_path / "data" / "train" / "left" / "0.mp4"
    bad.write_bytes(b"")
    recipe = probe_recipe("data.max_bad_fraction=0.2")
    first = fit(recipe, tmp_path / "data", tmp_path / "probe", init=run)
    again = fit(recipe, tmp_path / "data", tmp_path / "probe", init=run, resume=True)
    assert [problem.path for problem in first.skipped] == [bad]
    assert [str(problem) for problem in again.skipped] == [str(problem) for problem in first.skipped]
    assert (tmp_path / "probe" / "log.txt").read_text().count(f"skipped {bad}") == 1


def test_few_videos_choose_with_one_a_class(bars: Path, run: Path, tmp_path: Path) -> None:
    """Four of a class are fewer than the five of which a fifth is one."""
    for split in ("train", "test"):
        shutil.copytree(bars / split, tmp_path / "data" / split)
    result = fit(probe_recipe(), tmp_path / "data", tmp_path / "probe", init=run)
    assert "8 training videos, no validation, 2 classes" in (tmp_path / "probe" / "log.txt").read_text()
    assert result.epoch >= 1
    assert result.score in (0.0, 0.5, 1.0)
    for label in ("left", "right"):
        for number in (1, 2, 3):
            (tmp_path / "data" / "train" / label / f"{number}.mp4").unlink()
    with pytest.raises(DataError, match="a probe without a val split needs a class of at least two videos"):
        fit(probe_recipe(), tmp_path / "data", tmp_path / "other", init=run)


def test_a_probe_without_weights_is_refused(
    bars: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingError, match="a probe needs the weights of a frozen network: name them with --init"):
        fit(probe_recipe(), bars, tmp_path / "probe")
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": 1}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(SettingError, match="a probe runs in one process, but 2 were started"):
        fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    assert not (tmp_path / "probe").exists()


def test_features_outlive_a_stop(bars: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    for stopped, kept in (("probe.load_engine", False), ("probe.train_probe", True)):
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
    ],
)
def test_what_a_probe_does_not_do_is_not_among_its_settings(setting: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(SettingError, match=f"no setting named '{name}'"):
        probe_recipe(setting)


def test_a_probe_knows_no_loss_scaling() -> None:
    with pytest.raises(SettingError, match=r"probe\.precision is '16-mixed', should be '32-true' or 'bf16-mixed'"):
        probe_recipe("probe.precision=16-mixed")


def test_a_probe_says_how_it_trains(bars: Path, run: Path, tmp_path: Path) -> None:
    fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    said = (tmp_path / "probe" / "log.txt").read_text()
    assert "steps   20 epochs, 8 clips a step, adamw, learning rates 0.0001, 0.05, seed 0\n" in said


def test_a_probe_and_a_trained_run_do_not_resume_each_other(bars: Path, run: Path, tmp_path: Path) -> None:
    fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    with pytest.raises(SettingError, match="holds a run of task probe, not train; name another folder"):
        fit(small_recipe(), bars, tmp_path / "probe", resume=True, accept_changes=True)
    with pytest.raises(SettingError, match="holds a run of task train, not probe; name another folder"):
        fit(probe_recipe(), bars, run, init=run, resume=True, accept_changes=True)
