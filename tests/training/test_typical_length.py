"""The window that weights of `segments` keep: the median length of their training videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import moving_bar, small_recipe
from timesformer.config import Preprocessing, Sampling
from timesformer.data.manifest import read_manifest
from timesformer.training import typical_length
from timesformer.training.plan import plan_training
from timesformer.training.typical_length import with_window
from timesformer.video.encode import write_video

SEGMENTS = Preprocessing(sampling=Sampling(method="segments"))


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Training videos of 1, 2 and 4 s, and one that cannot be read."""
    for label in ("left", "right"):
        (tmp_path / "train" / label).mkdir(parents=True)
    for number, frames in enumerate((10, 20, 40)):
        write_video(tmp_path / "train" / "left" / f"{number}.mp4", moving_bar(1, 0, frames), 10)
    (tmp_path / "train" / "right" / "bad.mp4").write_bytes(b"no video")
    return tmp_path


def test_segments_keep_the_median(uneven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = read_manifest(uneven, "train")
    assert with_window(SEGMENTS, training).window == 2.0
    assert with_window(SEGMENTS.model_copy(update={"window": 7.0}), training).window == 7.0
    assert with_window(Preprocessing(), training) == Preprocessing()
    monkeypatch.setattr(typical_length, "LOOKED_AT", 2)  # every second of four: the first and the third
    assert with_window(SEGMENTS, training).window == 2.5


def test_a_run_keeps_it_with_its_weights(uneven: Path, tmp_path: Path) -> None:
    recipe = small_recipe("preprocessing.sampling.method=segments")
    plan = plan_training(recipe, uneven, tmp_path / "run", None)
    assert recipe.preprocessing.window is None
    assert plan.initialised.classifier.preprocessing.window == 2.0
    span = plan_training(small_recipe(), uneven, tmp_path / "run", None)
    assert span.initialised.classifier.preprocessing.window is None
