"""Position tables for another size or length, in the ways that have a name."""

from __future__ import annotations

import pytest
import torch

from timesformer import TimeSformer
from timesformer.config import Preprocessing
from timesformer.errors import SettingError
from timesformer.model.embed import resize_space, resize_time
from timesformer.weights.classifier import Classifier
from timesformer.weights.resize import resize_classifier

TINY = {"image_size": 32, "patch_size": 8, "num_frames": 4, "width": 12, "depth": 2, "heads": 3, "num_classes": 2}
WAYS = ("bicubic", "nearest", "nearest_flat")


def places(side: int) -> torch.Tensor:
    """A table whose one channel is the number of its place."""
    return torch.arange(side**2, dtype=torch.float32).view(1, -1, 1)


def test_nearest_goes_by_row_and_column() -> None:
    found = resize_space(places(2), 2, (3, 4), "nearest").flatten().tolist()
    assert found == [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3]


def test_nearest_flat_goes_along_the_flattened_table() -> None:
    found = resize_space(places(2), 2, (3, 4), "nearest_flat").flatten().tolist()
    assert found == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_the_released_loader_agrees_with_the_released_forward_pass_at_one_place_in_fourteen() -> None:
    flat, square = (resize_space(places(14), 14, (28, 28), way) for way in ("nearest_flat", "nearest"))
    assert (flat == square).float().mean().item() == pytest.approx(0.07, abs=0.005)


def test_frames() -> None:
    line = torch.tensor([0.0, 1.0]).view(1, 2, 1)
    assert resize_time(line, 4, "nearest").flatten().tolist() == [0, 0, 1, 1]
    assert resize_time(line, 4, "nearest_flat").flatten().tolist() == [0, 0, 1, 1]
    assert resize_time(line, 4, "bicubic").flatten().tolist() == [0, 0.25, 0.75, 1]


@torch.no_grad()
@pytest.mark.parametrize("way", WAYS)
def test_a_resized_model_is_the_model_on_clips_of_that_shape(way: str) -> None:
    torch.manual_seed(0)
    model = TimeSformer(**TINY, initialisation="scratch").eval()
    classifier = Classifier(model, Preprocessing(short_side=40), ("a", "b"), {"data": "mine"})
    found = resize_classifier(classifier, 64, 8, way)
    assert (found.model.settings.image_size, found.model.settings.num_frames) == (64, 8)
    assert (found.preprocessing.short_side, found.labels, found.facts) == (80, ("a", "b"), {"data": "mine"})
    same = TimeSformer(**model.settings.model_dump() | {"position_resize": way}).eval()
    same.load_state_dict(model.state_dict())
    clips = torch.randn(2, 3, 8, 64, 64)
    assert (found.model(clips) - same(clips)).abs().max() <= 1e-5
    for other in set(WAYS) - {way}:
        assert (resize_classifier(classifier, 64, 8, other).model(clips) - same(clips)).abs().max() > 1e-3


def test_without_a_name_the_models_own_way_counts() -> None:
    model = TimeSformer(**TINY, position_resize="nearest_flat")
    classifier = Classifier(model, Preprocessing(), ("a", "b"))
    assert resize_classifier(classifier) is classifier
    assert resize_classifier(classifier, 64).model.settings.position_resize == "nearest_flat"
    with pytest.raises(SettingError, match="position_resize is 'linear'"):
        resize_classifier(classifier, 64, position_resize="linear")


def test_no_frames_and_no_size_are_refused() -> None:
    classifier = Classifier(TimeSformer(**TINY), Preprocessing(), ("a", "b"))
    for shape, message in (
        ({"num_frames": 0}, "num_frames is 0, should be greater than 0"),
        ({"image_size": 0}, "image_size is 0, should be greater than 0"),
    ):
        with pytest.raises(SettingError, match=message):
            resize_classifier(classifier, **shape)
