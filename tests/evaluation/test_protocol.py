"""A test protocol other than the weights' own."""

from __future__ import annotations

import pytest

from timesformer import TimeSformer
from timesformer.config import Preprocessing, Sampling
from timesformer.errors import SettingError
from timesformer.evaluation.protocol import change_protocol
from timesformer.weights.classifier import Classifier

TINY = {"image_size": 16, "patch_size": 8, "num_frames": 2, "width": 12, "depth": 1, "heads": 3, "num_classes": 2}


@pytest.fixture
def given() -> Classifier:
    preprocessing = Preprocessing(mean=(0.1, 0.2, 0.3), short_side=20, sampling=Sampling(rate=7), test_clips=2)
    return Classifier(TimeSformer(**TINY), preprocessing, ("a", "b"), {"data": "mine"})


def test_what_is_not_named_stays(given: Classifier) -> None:
    found = change_protocol(given)
    assert (found.model, found.preprocessing, found.labels) == (given.model, given.preprocessing, given.labels)


def test_each_part_alone(given: Classifier) -> None:
    old = given.preprocessing
    for part, changes in (
        ({"clips": 5}, {"test_clips": 5}),
        ({"crops": 1}, {"test_crops": 1}),
        ({"sampling": "segments"}, {"sampling": Sampling(method="segments", rate=7)}),
        ({"image_size": 32}, {"short_side": 40}),
        ({"frames": 4}, {}),
    ):
        found = change_protocol(given, **part)
        assert found.preprocessing == old.model_copy(update=changes)
        assert (found.labels, found.facts) == (("a", "b"), {"data": "mine"})
    settings = change_protocol(given, frames=4, image_size=32, position_resize="nearest").model.settings
    assert (settings.num_frames, settings.image_size, settings.position_resize) == (4, 32, "nearest")


def test_what_is_not_allowed(given: Classifier) -> None:
    for part, message in (
        ({"clips": 0}, "test_clips is 0, should be greater than 0"),
        ({"crops": 2}, "test_crops is 2, should be 1 or 3"),
        ({"sampling": "all"}, "sampling.method is 'all', should be 'span', 'segments' or 'cover'"),
        ({"sampling": "cover"}, "test_clips 2 is not for sampling cover"),
        ({"frames": 0}, "num_frames is 0"),
    ):
        with pytest.raises(SettingError, match=message):
            change_protocol(given, **part)
