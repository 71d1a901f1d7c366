"""Predictions agree with the model, by hand and with the test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import timesformer
from timesformer.config import Data
from timesformer.data.manifest import read_manifest
from timesformer.evaluation.test import test as run_test
from timesformer.inference.predictor import CALIBRATING, gather_videos, some_views
from timesformer.video.source import open_video
from timesformer.video.views import testing_views
from timesformer.weights import open_weights


def test_predict_is_the_mean_softmax_of_three_crops(run: Path, bars: Path) -> None:
    video = bars / "test" / "left" / "0.mp4"
    classifier = open_weights(run)
    with open_video(video) as opened:
        frames = opened.read([1, 3, 5, 8], 16)  # span of 8 frames in the middle of 10: 1 + 0, 7/3, 14/3, 7
    crops = torch.stack([frames[..., left : left + 16] for left in (0, 3, 5)])  # of 21 columns
    with torch.inference_mode():
        expected = classifier.model((crops / 255 - 0.45) / 0.225).softmax(1).mean(0)
    predictions = timesformer.load(run, "cpu", precision="fp32").predict(video)
    assert dict(predictions) == pytest.approx(dict(zip(("left", "right"), expected.tolist(), strict=True)), abs=1e-6)
    assert predictions[0].score > predictions[1].score


def test_predict_agrees_with_test(run: Path, bars: Path) -> None:
    result = run_test(open_weights(run), read_manifest(bars, "test"), Data(workers=0))
    predictor = timesformer.load(run, "cpu", precision="fp32")
    for path, scores in zip(result.paths, result.scores_BK, strict=True):
        torch.testing.assert_close(predictor.scores(path), scores)


def test_top(run: Path, bars: Path) -> None:
    predictor = timesformer.load(run, "cpu", precision="fp32")
    video = bars / "test" / "left" / "0.mp4"
    assert predictor.predict(video, top=1) == predictor.predict(video, top=9)[:1]
    with pytest.raises(timesformer.SettingError, match="top is 0"):
        predictor.predict(video, top=0)


def test_many_videos(run: Path, bars: Path, tmp_path: Path) -> None:
    predictor = timesformer.load(run, "cpu", precision="fp32")
    good = bars / "test" / "left" / "0.mp4"
    (tmp_path / "empty.mp4").touch()
    empty, none = tmp_path / "empty.mp4", tmp_path / "none.mp4"
    for workers in (0, 2):
        first, second, third = predictor.predict_all([empty, str(good), none], top=1, workers=workers)
        assert second == (good, predictor.predict(good, top=1), None)
        assert first == (empty, [], (empty, f"{empty}: the file is empty"))
        assert third == (none, [], (none, f"{none}: no such file"))


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
    with pytest.raises(timesformer.VideoError, match=r"none of the 1 videos to calibrate on .*empty.mp4: the file is"):
        timesformer.load(run, "cpu", precision="int8", calibration=[tmp_path / "empty.mp4"])


def test_calibration_is_spread_over_the_videos(run: Path, bars: Path) -> None:
    classifier, videos = open_weights(run), sorted((bars / "train").rglob("*.mp4"))
    assert len(videos) == 8
    views = some_views(videos * 4, classifier)
    assert views is not None
    assert len(views) == CALIBRATING
    with open_video(videos[2]) as opened:
        middle = testing_views(opened, classifier.model.settings, classifier.preprocessing)[1]
    assert torch.equal(views[1], middle)
    assert some_views([], classifier) is None


def test_places_stand_for_their_videos(bars: Path, tmp_path: Path) -> None:
    left = bars / "test" / "left"
    found = gather_videos([tmp_path / "none.mp4", left, str(left / "1.mp4")])
    assert found == [tmp_path / "none.mp4", left / "0.mp4", left / "1.mp4", left / "1.mp4"]
    with pytest.raises(timesformer.VideoError, match="holds no videos or image frames"):
        gather_videos([left, tmp_path])


def test_a_device_that_is_not_there(run: Path) -> None:
    for name in ("nonsense", "meta", "cuda:99"):
        with pytest.raises(timesformer.SettingError, match=f"device '{name}' .*expected auto, cpu, cuda or mps"):
            timesformer.load(run, name)
