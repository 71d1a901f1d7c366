"""Probes: the head that is saved is the head that was chosen, on the backbone as it came."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file

from probes import probe_recipe
from timesformer.errors import DataError, SettingError
from timesformer.evaluation.evaluate import evaluate
from timesformer.features.extract import Features
from timesformer.features.store import read_notes
from timesformer.training.fit import fit, resume
from timesformer.training.frozen import FrozenFeatures
from timesformer.training.result import ProbeResult
from timesformer.weights.classifier import load_model


@pytest.fixture
def without_val(bars: Path, tmp_path: Path) -> Path:
    """`bars` without a val split, as a list with groups: videos of one number are of one source."""
    shutil.copytree(bars / "train", tmp_path / "data" / "videos")
    rows = [f"videos/{label}/{number}.mp4,{label},{number}" for label in ("left", "right") for number in range(4)]
    (tmp_path / "data" / "train.csv").write_text("\n".join(["path,label,source", *rows]) + "\n")
    return tmp_path / "data"


@pytest.mark.parametrize("heads", ["[linear]", "[attentive]", "[knn, linear, attentive]"])
def test_a_whole_probe(bars: Path, run: Path, tmp_path: Path, heads: str) -> None:
    console = Console(file=io.StringIO(), width=200)
    recipe = probe_recipe(f"probe.heads={heads}", "preprocessing.test_crops=3")
    result = fit(recipe, bars, tmp_path / "probe", init=run, console=console)
    assert isinstance(result, ProbeResult)
    probed = load_model(tmp_path / "probe")
    kept = result.head.split(",")[0]
    assert probed.model.settings.pooling == ("attentive" if kept == "attentive" else "class_token")
    # What the run found on val, with all views, is what a test of the saved classifier finds there.
    found = evaluate(probed, bars, split="val", device="cpu", workers=0)
    assert found.metrics.top1 == pytest.approx(result.score)
    before = load_model(run).model.state_dict()
    for name, tensor in probed.model.state_dict().items():
        if not name.startswith(("head.", "pooling.")):
            assert torch.equal(before[name], tensor), name
    tensors = load_file(tmp_path / "probe" / "features" / "train.safetensors")
    assert tuple(tensors["features"].shape) == (8 * 3, 32)
    assert ("tokens" in tensors) == ("attentive" in heads)
    with (tmp_path / "probe" / "logs" / "heads.csv").open(newline="") as stream:
        trials = list(csv.DictReader(stream))
    of_head = {"linear": 4, "attentive": 2, "knn": 3}
    names = heads.strip("[]").split(", ")
    assert [trial["head"] for trial in trials] == [name for name in names for _ in range(of_head[name])]
    (best,) = [trial for trial in trials if trial["kept"] == "1"]
    assert result.head == f"{best['head']}, {'l2' if kept == 'linear' else 'learning rate'} {float(best['value']):g}"
    assert (
        float(best["top1"]) == result.score == max(float(trial["top1"]) for trial in trials if trial["head"] != "knn")
    )
    said = (tmp_path / "probe" / "log.txt").read_text()
    for name in names:
        assert f"head    {name}, " in said
    assert f"on the 4 videos of val, which chose it among {result.tried}" in result.summary()
    assert isinstance(console.file, io.StringIO)
    assert "engine eager, fp32 (as asked); logits within" in console.file.getvalue()
    assert not (tmp_path / "probe" / "held_out.parquet").exists()


def test_without_val_folds_choose_and_estimate(without_val: Path, run: Path, tmp_path: Path) -> None:
    recipe = probe_recipe("data.group=source", "probe.heads=[linear, knn]", "probe.precision=auto")
    result = fit(recipe, without_val, tmp_path / "probe", init=run)
    assert isinstance(result, ProbeResult)
    assert (result.validation_split, result.videos, result.groups, result.tried) == (None, 8, 4, 4)
    assert read_notes(tmp_path / "probe" / "features" / "train.safetensors")["precision"] in ("fp32", "bf16")
    rows = pq.read_table(tmp_path / "probe" / "held_out.parquet").to_pylist()
    assert [Path(row["path"]).name for row in rows] == [f"{number}.mp4" for _ in "lr" for number in range(4)]
    assert sum(row["label"] == row["predicted"] for row in rows) / 8 == pytest.approx(result.score)
    summary = result.summary()
    assert "estimated by nested cross-validation over 8 training videos in 4 groups" in summary
    assert summary in load_model(tmp_path / "probe").facts["probe"]
    kept = json.loads((tmp_path / "probe" / "result.json").read_text())
    assert (kept["split"], kept["groups"], kept["epoch"]) == ("train, nested cross-validation", 4, None)
    assert kept["interval"] == pytest.approx(result.interval, abs=1e-6)
    said = (tmp_path / "probe" / "log.txt").read_text()
    assert "8 training videos, no val split: folds of them choose and estimate, 2 classes" in said
    assert "note    clips of one source" not in said
    assert "nested cross-validation; not kept" in said
    assert "floor   most frequent class (left) on train: top-1 0.500" in said
    again = fit(probe_recipe(), without_val, tmp_path / "ungrouped", init=run)
    assert isinstance(again, ProbeResult)
    assert again.groups is None
    assert "note    clips of one source may be on both sides" in (tmp_path / "ungrouped" / "log.txt").read_text()


def test_too_few_groups_are_refused_before_anything_is_computed(without_val: Path, run: Path, tmp_path: Path) -> None:
    file = without_val / "train.csv"
    file.write_text(
        "\n".join(
            f"{line[:-1]}{min(number % 4, 1)}" if number else line
            for number, line in enumerate(file.read_text().splitlines())
        )
    )
    with pytest.raises(
        DataError, match=r"train\.csv: has 2 groups in column source; a probe without a val split needs"
    ):
        fit(probe_recipe("data.group=source"), without_val, tmp_path / "probe", init=run)
    assert not (tmp_path / "probe").exists()


def test_features_are_computed_once(bars: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed probe has them, and the same head; other heads on the same features are a change to accept."""
    fit(probe_recipe("probe.heads=[linear, attentive]"), bars, tmp_path / "probe", init=run)
    first = load_model(tmp_path / "probe").model.state_dict()
    shutil.rmtree(tmp_path / "probe" / "model")

    def unwanted(*given: object, **named: object) -> None:
        raise AssertionError("features were computed again")

    monkeypatch.setattr("timesformer.training.frozen.load_engine", unwanted)
    resume(tmp_path / "probe")
    second = load_model(tmp_path / "probe").model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    resume(tmp_path / "probe", overrides=["probe.heads=[linear]"], accept_changes=True)  # tokens are not needed
    resume(tmp_path / "probe", overrides=["probe.heads=[linear, attentive]"], accept_changes=True)
    change = ["probe.heads=[attentive, knn]"]
    with pytest.raises(SettingError, match=r"changed since the run started: probe\.heads was "):
        resume(tmp_path / "probe", overrides=change)
    result = resume(tmp_path / "probe", overrides=change, accept_changes=True)
    assert isinstance(result, ProbeResult)
    assert result.head.startswith("attentive")


def test_features_of_other_weights_or_settings_are_not_used(bars: Path, run: Path, tmp_path: Path) -> None:
    """Changes are refused as those of any run are; where they are accepted, all is computed anew."""
    fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    change = ["model.num_frames=6"]
    with pytest.raises(SettingError, match=r"changed since the run started: model\.num_frames was 4, is 6"):
        resume(tmp_path / "probe", overrides=change)
    resume(tmp_path / "probe", overrides=change, accept_changes=True)
    assert "val.safetensors has a different backbone and model" in (tmp_path / "probe" / "log.txt").read_text()
    fit(probe_recipe(*change), bars, tmp_path / "expected", init=run)
    for split in ("train", "val"):
        kept, expected = (
            load_file(tmp_path / folder / "features" / f"{split}.safetensors")["features"]
            for folder in ("probe", "expected")
        )
        assert torch.equal(kept, expected)


def test_a_file_of_features_says_what_its_rows_are(bars: Path, run: Path, tmp_path: Path) -> None:
    fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    with safe_open(tmp_path / "probe" / "features" / "train.safetensors", "pt") as file:
        paths, classes = (json.loads(file.metadata()[name]) for name in ("paths", "classes"))
        labels, videos = file.get_tensor("labels"), file.get_tensor("videos")
    assert [paths[video].split("/")[1] for video in videos] == [classes[label] for label in labels]
    assert paths[0] == "train/left/0.mp4"


def test_a_stopped_probe_needs_no_weights_but_its_own(
    bars: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are gone when it resumes, with the features of one of its two splits."""
    recipe = probe_recipe("probe.heads=[linear, attentive]")
    fit(recipe, bars, tmp_path / "whole", init=run)
    shutil.copytree(run / "model", tmp_path / "weights")
    compute, found = FrozenFeatures.of, list[Features]()

    def torn(self: FrozenFeatures, manifest: object) -> Features:
        if found:
            raise KeyboardInterrupt
        found.append(compute(self, manifest))  # type: ignore[arg-type]
        return found[0]

    with monkeypatch.context() as patch:
        patch.setattr(FrozenFeatures, "of", torn)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, bars, tmp_path / "probe", init=tmp_path / "weights")
    shutil.rmtree(tmp_path / "weights")
    resume(tmp_path / "probe")
    one, two = (load_model(tmp_path / name).model.state_dict() for name in ("whole", "probe"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_probe_of_an_earlier_version_whose_weights_were_not_kept_says_so(
    bars: Path, run: Path, tmp_path: Path
) -> None:
    fit(probe_recipe(), bars, tmp_path / "probe", init=run)
    shutil.rmtree(tmp_path / "probe" / "initial")
    with pytest.raises(SettingError, match="cannot resume, initial/ is missing; start the run anew in another folder"):
        resume(tmp_path / "probe")


def test_other_videos_are_seen_even_where_they_are_as_many(bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    fit(probe_recipe(), tmp_path / "data", tmp_path / "probe", init=run)
    (tmp_path / "data/train/left/0.mp4").rename(tmp_path / "data/train/right/9.mp4")
    with pytest.raises(SettingError, match=r"videos was 8 \(\w+\), is 8 \(\w+\)"):
        resume(tmp_path / "probe")


def test_videos_skipped_in_kept_features_are_still_counted(bars: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(bars, tmp_path / "data")
    bad = tmp_path / "data" / "train" / "left" / "0.mp4"
    bad.write_bytes(b"")
    recipe = probe_recipe("data.max_bad_fraction=0.2")
    first = fit(recipe, tmp_path / "data", tmp_path / "probe", init=run)
    again = resume(tmp_path / "probe")
    assert [problem.path for problem in first.skipped] == [bad]
    assert [str(problem) for problem in again.skipped] == [str(problem) for problem in first.skipped]
    assert (tmp_path / "probe" / "log.txt").read_text().count(f"skipped {bad}") == 1


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

    for stopped, kept in (("frozen.load_engine", False), ("probe.choose_on", True)):
        with monkeypatch.context() as patch:
            patch.setattr(f"timesformer.training.{stopped}", interrupt)
            with pytest.raises(KeyboardInterrupt):
                fit(probe_recipe(), bars, tmp_path / "probe", init=run)
        assert (tmp_path / "probe").exists() == kept
    resume(tmp_path / "probe")


def test_a_probe_says_what_it_tries(bars: Path, run: Path, tmp_path: Path) -> None:
    fit(probe_recipe("probe.heads=[linear, attentive, knn]"), bars, tmp_path / "probe", init=run)
    said = (tmp_path / "probe" / "log.txt").read_text()
    tried = "linear with l2 0.01, 0.1, 1, 10; attentive with learning rates 0.0001, 0.05, 4 epochs of adamw; knn with "
    assert f"heads   {tried}1, 5, 20 neighbours, seed 0\n" in said


@pytest.mark.parametrize(
    "setting",
    [
        "training.balance=loss",
        "training.ema=0.9",
        "optimizer.name=sgd",
        "optimizer.learning_rate=0.1",
        "augmentation.mixup=0.2",
        "probe.betas=[0.9, 0.9]",
        "probe.schedule=cosine",
        "probe.label_smoothing=0.1",
    ],
)
def test_what_a_probe_does_not_do_is_not_among_its_settings(setting: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(SettingError, match=f"no setting named '{name}'"):
        probe_recipe(setting)


def test_fitting_heads_has_a_bar(bars: Path, run: Path, tmp_path: Path) -> None:
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=100)
    fit(probe_recipe("probe.heads=[linear, knn]"), bars, tmp_path / "probe", init=run, console=console)
    text = drawn.getvalue()
    assert "features of train, video 8/8, " in text
    assert "features of val, video 4/4, " in text
    assert "heads, fit 2/2: knn" in text
