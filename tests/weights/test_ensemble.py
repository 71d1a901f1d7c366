"""Ensembles: their scores against the mean of their members', in every command that takes them, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import timesformer
from commands import Command, assert_one_line
from timesformer.config import Sampling
from timesformer.errors import WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.classifier import Classifier
from timesformer.weights.ensemble import load_classifiers, save_ensemble

SIZES: tuple[dict[str, Any], ...] = (
    {"width": 32, "heads": 2, "depth": 1},
    {"width": 48, "heads": 3, "depth": 2, "scheme": "joint_space_time", "patch_size": 16},
)


def member(number: int, labels: tuple[str, ...] = ("left", "right"), **settings: Any) -> Classifier:
    """A network of its own size, whose scores are far from even."""
    values = {"image_size": 16, "patch_size": 8, "num_frames": 4, "num_classes": len(labels)}
    torch.manual_seed(number)
    model = TimeSformer(**{**values, **SIZES[number % 2], **settings}).eval()
    with torch.no_grad():
        model.head.weight.normal_(0, 2)
    mean = (0.4, 0.5, 0.3) if number % 2 else (0.45, 0.45, 0.45)
    return Classifier(model, timesformer.Preprocessing(mean=mean, short_side=20), labels)


@pytest.fixture
def members(tmp_path: Path) -> dict[str, Path]:
    for number in range(3):
        member(number).save_pretrained(tmp_path / f"m{number}")
    return {f"fold{number}": tmp_path / f"m{number}" for number in range(3)}


@pytest.fixture
def ensemble(members: dict[str, Path], tmp_path: Path) -> Path:
    return save_ensemble(members, tmp_path / "run" / "model")


def test_a_folder_of_ordinary_weights(ensemble: Path, members: dict[str, Path]) -> None:
    assert sorted(path.name for path in ensemble.iterdir()) == ["config.json", "fold0", "fold1", "fold2"]
    for name, source in members.items():
        assert (ensemble / name / "model.safetensors").samefile(source / "model.safetensors")
        assert timesformer.load_model(ensemble / name).labels == ("left", "right")
    assert len(load_classifiers(ensemble)) == 3
    assert len(load_classifiers(ensemble.parent)) == 3  # the folder of a run
    assert len(load_classifiers(ensemble / "config.json")) == 3
    assert len(load_classifiers(members["fold0"])) == 1


def test_links_are_copies_where_there_are_none(
    members: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refused)
    copied = save_ensemble(members, tmp_path / "copied")
    first, second = copied / "fold1" / "model.safetensors", members["fold1"] / "model.safetensors"
    assert first.read_bytes() == second.read_bytes()
    assert not first.samefile(second)


def test_scores_are_the_mean_of_the_members(ensemble: Path, members: dict[str, Path], bars: Path) -> None:
    how: dict[str, Any] = {"device": "cpu", "workers": 0, "precision": "fp32", "clips": 2}
    alone = [timesformer.evaluate(weights, bars, **how) for weights in members.values()]
    expected = torch.stack([result.scores_BK for result in alone]).mean(0)
    assert torch.stack([result.scores_BK for result in alone]).std(0).max() > 0.05
    together = timesformer.evaluate(ensemble.parent, bars, **how)
    assert (together.scores_BK - expected).abs().max() < 1e-6
    assert (together.scores_BK.sum(1) - 1).abs().max() < 1e-6
    assert together.precision == "fp32"

    video = bars / "test" / "left" / "0.mp4"
    predictor = timesformer.load(ensemble, "cpu", precision="fp32")
    one_by_one = [timesformer.load(weights, "cpu", precision="fp32") for weights in members.values()]
    mean = torch.stack([one.scores(video) for one in one_by_one]).mean(0)
    assert (predictor.scores(video) - mean).abs().max() < 1e-6
    assert len({predictor.fingerprint, *(one.fingerprint for one in one_by_one)}) == 4
    assert "an ensemble of 3, " in str(predictor.engine)


def test_several_classes_a_video(tmp_path: Path) -> None:
    sources = {}
    for number in range(2):
        sources[f"seed{number}"] = tmp_path / f"m{number}"
        member(number, multilabel=True).save_pretrained(sources[f"seed{number}"])
    predictor = timesformer.load(save_ensemble(sources, tmp_path / "both"), "cpu", precision="fp32")
    video = torch.randint(0, 256, (3, 9, 30, 40), dtype=torch.uint8)
    expected = torch.stack([timesformer.load(one, "cpu", precision="fp32").scores(video) for one in sources.values()])
    assert (predictor.scores(video) - expected.mean(0)).abs().max() < 1e-6


def test_another_protocol_is_every_members(ensemble: Path, members: dict[str, Path], bars: Path) -> None:
    how: dict[str, Any] = {"device": "cpu", "workers": 0, "precision": "fp32", "frames": 8, "image_size": 32}
    alone = [timesformer.evaluate(weights, bars, **how).scores_BK for weights in members.values()]
    together = timesformer.evaluate(ensemble, bars, **how).scores_BK
    assert (together - torch.stack(alone).mean(0)).abs().max() < 1e-6


def test_commands_take_it(command: Command, ensemble: Path, bars: Path) -> None:
    tested = command("test", ensemble.parent, "--data", bars, "--workers", 0, "--device", "cpu", "--json")
    assert tested.code == 0, tested.err
    assert json.loads(tested.out)["videos"] == 4
    predicted = command("predict", ensemble, bars / "test" / "left" / "0.mp4", "--device", "cpu", "--json")
    assert predicted.code == 0, predicted.err
    assert len(json.loads(predicted.out)[0]["predictions"]) == 2


def test_what_it_cannot_do_is_one_line(command: Command, ensemble: Path, bars: Path, tmp_path: Path) -> None:
    line = (
        f"{ensemble}: an ensemble of several classifiers, which only test, predict, timeline and serve take; name one "
        f"of them, such as {ensemble}/fold0"
    )
    with pytest.raises(WeightsError) as raised:
        timesformer.load_model(ensemble)
    assert str(raised.value) == line
    assert_one_line(command("convert", ensemble, tmp_path / "x", "--to", "official"), line)
    train = ("train", "--data", bars, "--recipe", "demo", "--out", tmp_path / "new", "--init")
    assert_one_line(command(*train, ensemble.parent), line)
    assert not (tmp_path / "new").exists()
    assert_one_line(command("bench", "model", ensemble), line)


def changed(**preprocessing: Any) -> Classifier:
    first = member(0)
    return dataclasses.replace(first, preprocessing=first.preprocessing.model_copy(update=preprocessing))


BAD = {
    "classes": (lambda: member(0, ("left", "up")), "classes up, but PATH/m0 has right"),
    "more classes": (lambda: member(0, ("left", "right", "up")), "classes up, but PATH/m0 has left, right"),
    "order": (lambda: member(0, ("right", "left")), "classes right, left, but PATH/m0 has left, right"),
    "multilabel": (lambda: member(0, multilabel=True), "multilabel True, but PATH/m0 has False"),
    "frames": (lambda: member(0, num_frames=8), "clips 8 frames of 16 x 16, but PATH/m0 has 4 frames of 16 x 16"),
    "crops": (lambda: changed(test_crops=1), "test_crops 1, but PATH/m0 has 3"),
    "sampling": (lambda: changed(sampling=Sampling(rate=2)), "sampling {"),
}


@pytest.mark.parametrize("name", BAD)
def test_members_that_do_not_go_together(members: dict[str, Path], tmp_path: Path, name: str) -> None:
    make, expected = BAD[name]
    make().save_pretrained(tmp_path / "other")
    with pytest.raises(WeightsError) as raised:
        save_ensemble(members | {"last": tmp_path / "other"}, tmp_path / "new")
    line = str(raised.value)
    assert line.startswith(f"{tmp_path / 'other'}: {expected.replace('PATH', str(tmp_path))}")
    assert line.endswith("; the members of an ensemble have the same")
    assert not (tmp_path / "new").exists()


def test_a_member_that_was_replaced_is_found_when_it_is_loaded(ensemble: Path) -> None:
    (ensemble / "fold2" / "model.safetensors").unlink()
    member(2, ("a", "b")).save_pretrained(ensemble / "fold2")
    with pytest.raises(WeightsError, match=r"/fold2: classes a, b, but .*/fold0 has left, right; the members of an en"):
        timesformer.load(ensemble, "cpu")


def test_damaged_ensembles(ensemble: Path) -> None:
    config = ensemble / "config.json"
    for values, line in (
        ({"version": 2}, "an ensemble of version 2; this package reads 1"),
        ({"members": []}, "an ensemble with members []; expected names of folders in it"),
        ({"members": ["../m0"]}, "an ensemble with members ['../m0']; expected names of folders in it"),
        ({"members": ["fold7"]}, "fold7: no such file or folder"),
    ):
        config.write_text(json.dumps({"format": "timesformer-ensemble", "version": 1} | values))
        with pytest.raises(WeightsError) as raised:
            timesformer.load(ensemble, "cpu")
        assert line in str(raised.value)


def test_what_is_not_saved(members: dict[str, Path], tmp_path: Path) -> None:
    timesformer.load_model(members["fold0"]).save_pretrained(tmp_path / "there")
    with pytest.raises(WeightsError, match=r"there: exists already; name a new folder"):
        save_ensemble(members, tmp_path / "there")
    for wrong in ({}, {"a/b": members["fold0"]}):
        with pytest.raises(WeightsError, match=r"expected one or more names of folders"):
            save_ensemble(wrong, tmp_path / "new")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text('{"model_type": "timesformer"}')
    with pytest.raises(WeightsError, match=r"hf: weights of another layout; `timesformer convert` makes"):
        save_ensemble({"a": tmp_path / "hf"}, tmp_path / "new")
