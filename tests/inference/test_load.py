"""What a predictor is loaded from, what it says it is, and what tells it from others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

import timesformer
from timesformer.config import Sampling
from timesformer.inference.predictor import Predictor
from timesformer.weights.classifier import load_model


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return timesformer.load(run, "cpu", precision="fp32")


@pytest.fixture(scope="module")
def videos(bars: Path) -> list[Path]:
    return sorted((bars / "test").rglob("*.mp4"))


def test_what_a_predictor_is(predictor: Predictor, run: Path) -> None:
    network = "timesformer, divided_space_time, width 32, 1 blocks, 2 heads, patch 8; 4 frames of 16 x 16"
    assert repr(predictor) == f"Predictor({network}; 2 classes; engine eager, fp32 on cpu)"
    assert repr(predictor.engine) == "Engine(eager, fp32 on cpu; 4 frames of 16 x 16)"
    assert repr(load_model(run)) == f"Classifier({network}; 2 classes)"


def test_a_classifier_in_place_of_a_folder(predictor: Predictor, run: Path, videos: list[Path]) -> None:
    classifier = load_model(run)
    found = timesformer.load(classifier, "cpu", precision="fp32")
    assert torch.equal(found.scores(videos[0]), predictor.scores(videos[0]))
    assert found.labels == predictor.labels == ("left", "right")


def test_a_fingerprint_tells_classifiers_apart(predictor: Predictor, run: Path, tmp_path: Path) -> None:
    classifier = load_model(run)
    assert timesformer.load(classifier, "cpu", precision="fp32").fingerprint == predictor.fingerprint
    (tmp_path / "names").write_text("up\ndown\n")
    sampling = Sampling(method="segments")
    preprocessing = classifier.preprocessing.model_copy(update={"sampling": sampling})
    found = {
        predictor.fingerprint,
        timesformer.load(run, "cpu", labels=tmp_path / "names").fingerprint,
        timesformer.load(dataclasses.replace(classifier, preprocessing=preprocessing), "cpu").fingerprint,
    }
    with torch.no_grad():
        next(classifier.model.blocks()[0].parameters()).flatten()[0] += 1e-3
    assert len(found | {timesformer.load(classifier, "cpu").fingerprint}) == 4


def test_eight_bits_are_calibrated_on_videos(run: Path, bars: Path, tmp_path: Path) -> None:
    videos = sorted((bars / "train").rglob("*.mp4"))
    (tmp_path / "empty.mp4").touch()
    predictor = timesformer.load(run, "cpu", precision="int8", calibration=[tmp_path / "empty.mp4", *videos])
    assert (predictor.engine.engine, predictor.engine.precision) == ("eager", "int8")
    assert predictor.engine.agreement.clips == len(videos)
    plain = timesformer.load(run, "cpu", precision="fp32")
    for video in sorted((bars / "test").rglob("*.mp4")):
        torch.testing.assert_close(predictor.scores(video), plain.scores(video), rtol=0, atol=0.02)
    with pytest.raises(timesformer.SettingError, match="int8 is calibrated"):
        timesformer.load(run, "cpu", precision="int8")
    with pytest.raises(timesformer.DataError, match=r"none of the 1 videos to calibrate on .*empty.mp4: the file is"):
        timesformer.load(run, "cpu", precision="int8", calibration=[tmp_path / "empty.mp4"])


def test_a_device_that_is_not_there(run: Path) -> None:
    for name in ("nonsense", "meta", "cuda:99"):
        with pytest.raises(timesformer.SettingError, match=f"device '{name}' .*expected auto, cpu, cuda or mps"):
            timesformer.load(run, name)
