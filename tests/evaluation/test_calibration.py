"""The clips that an int8 engine is calibrated on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from timesformer.errors import DataError
from timesformer.evaluation.calibration import CALIBRATION_VIDEOS, calibration_clips
from timesformer.video.views import read_views
from timesformer.weights.classifier import load_model


def test_calibration_is_spread_over_the_videos(run: Path, bars: Path) -> None:
    classifier, videos = load_model(run), sorted((bars / "train").rglob("*.mp4"))
    assert len(videos) == 8
    views = calibration_clips(videos * 4, classifier)
    assert views is not None
    assert len(views) == CALIBRATION_VIDEOS
    middle = read_views(videos[2], classifier.model.clip_shape, classifier.preprocessing)[1]
    assert torch.equal(views[1], middle)
    assert calibration_clips([], classifier) is None


def test_unreadable_videos_are_skipped_unless_it_is_all(run: Path, bars: Path, tmp_path: Path) -> None:
    classifier, good = load_model(run), bars / "train" / "left" / "0.mp4"
    (tmp_path / "empty.mp4").touch()
    views = calibration_clips([tmp_path / "empty.mp4", good, good.read_bytes()], classifier)
    assert views is not None
    assert views.shape == (2, 3, 4, 16, 16)
    assert torch.equal(views[0], views[1])
    with pytest.raises(DataError, match=r"none of the 1 videos to calibrate on can be read; the first: .*empty\.mp4: "):
        calibration_clips([tmp_path / "empty.mp4"], classifier)
