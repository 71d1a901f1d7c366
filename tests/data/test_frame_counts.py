"""A list that counts the frames of its folders: one that disagrees with the folder is named, with both numbers."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch

from timesformer.config import Augmentation, ClipShape, Preprocessing
from timesformer.data.check import check_data
from timesformer.data.dataset import Sample, TestingViews, TrainingClips
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.errors import VideoError
from timesformer.video.source import open_video
from timesformer.video.transforms import training_views
from timesformer.video.views import read_views

CASE = Path(__file__).parent / "cases/rawframes_with_flow"
SHAPE, PREPROCESSING, AUGMENTATION = ClipShape(frames=4, side=16), Preprocessing(), Augmentation(short_side=(16, 16))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The case: 16 frames img_*, beside flow_x_* and flow_y_*, and a list that says 16."""
    return Path(shutil.copytree(CASE, tmp_path / "data"))


def samples(manifest: Manifest) -> list[Sample]:
    """The first row, as a test and as training read it."""
    testing = TestingViews(manifest, SHAPE, PREPROCESSING)
    training = TrainingClips(manifest, SHAPE, PREPROCESSING, AUGMENTATION, seed=0)
    return [testing[0], training[0, 0, 0]]


def test_a_list_that_agrees(data: Path) -> None:
    manifest = read_manifest(data, "train")
    folder = data / "rawframes_train/v1"
    assert [(video.path, video.label, video.frames) for video in manifest.videos] == [(folder, 0, 16)]
    testing, training = samples(manifest)
    assert testing.views_VCTSS is not None
    assert training.views_VCTSS is not None
    assert torch.equal(testing.views_VCTSS, read_views(folder, SHAPE, PREPROCESSING))
    with open_video(folder) as video:
        right = training_views(video, SHAPE, PREPROCESSING, AUGMENTATION, random.Random("0 0 0 0"))
    assert torch.equal(training.views_VCTSS, right)
    assert check_data(data, workers=1).sound


@pytest.mark.parametrize("count", [15, 48])
def test_a_list_that_disagrees(data: Path, count: int) -> None:
    (list_file,) = data.glob("*.txt")
    list_file.write_text(f"v1 {count} 0\n")
    manifest = read_manifest(data, "train").with_labels(("zero", "one"))
    reason = f"holds 16 frames, but its list says {count}; complete the folder or correct the list"
    for sample in samples(manifest):
        assert sample.views_VCTSS is None
        assert str(sample.problem) == f"{data / 'rawframes_train/v1'}: {reason}"
    with pytest.raises(VideoError, match=f"holds 16 frames, but its list says {count}"):
        manifest.videos[0].open()
    report = check_data(data, workers=1)
    assert report.reasons == {data / "rawframes_train/v1": reason}
    assert not report.facts
