"""Models to train, initialised from other weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from timesformer import TimeSformer
from timesformer.config import Preprocessing, TimeSformerSettings
from timesformer.weights.classifier import Classifier
from timesformer.weights.initialise import initialise_classifier

TINY = {"image_size": 32, "patch_size": 8, "num_frames": 4, "width": 12, "depth": 2, "heads": 3}


@pytest.fixture
def given(tmp_path: Path) -> Classifier:
    model = TimeSformer(**TINY, num_classes=2, initialisation="scratch")
    classifier = Classifier(model, Preprocessing(mean=(0.1, 0.2, 0.3)), ("a", "b"))
    classifier.save_pretrained(tmp_path / "model")
    return classifier


def test_the_same_classes_and_shape_take_everything(given: Classifier, tmp_path: Path) -> None:
    initialised = initialise_classifier(TimeSformerSettings(**TINY), Preprocessing(), ("a", "b"), tmp_path / "model")
    tensors = initialised.classifier.model.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in given.model.state_dict().items())
    assert initialised.classifier.preprocessing.mean == (0.1, 0.2, 0.3)


def test_another_shape_and_other_classes(given: Classifier, tmp_path: Path) -> None:
    recipe = TimeSformerSettings(**{**TINY, "image_size": 48, "num_frames": 6, "drop_path": 0.3, "depth": 1})
    initialised = initialise_classifier(recipe, Preprocessing(), ("a", "b", "c"), tmp_path / "model")
    settings = initialised.classifier.model.settings
    assert (settings.image_size, settings.num_frames, settings.drop_path, settings.num_classes) == (48, 6, 0.3, 3)
    assert settings.depth == 2  # the weights', not the recipe's
    tensors, old = initialised.classifier.model.state_dict(), given.model.state_dict()
    table = old["embedding.space_table"]
    image = table[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
    resized = F.interpolate(image, size=(6, 6), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tensors["embedding.space_table"], torch.cat([table[:, :1], resized], 1))
    line = old["embedding.time_table"].transpose(1, 2)
    resized = F.interpolate(line, size=6, mode="linear", align_corners=False).transpose(1, 2)
    torch.testing.assert_close(tensors["embedding.time_table"], resized)
    assert torch.equal(tensors["blocks.1.mlp.0.weight"], old["blocks.1.mlp.0.weight"])
    said = " ".join(initialised.notes)
    for part in ("new head for 3 classes", "4 x 4 to 6 x 6", "from 4 to 6 frames"):
        assert part in said


def test_the_same_names_in_another_order_keep_the_head(tmp_path: Path) -> None:
    model = TimeSformer(**TINY, num_classes=3, initialisation="scratch").eval()
    Classifier(model, Preprocessing(), ("a", "b", "c")).save_pretrained(tmp_path / "model")
    initialised = initialise_classifier(
        TimeSformerSettings(**TINY), Preprocessing(), ("c", "a", "b"), tmp_path / "model"
    )
    assert initialised.classifier.labels == ("c", "a", "b")
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(initialised.classifier.model.eval()(clips), model(clips)[:, [2, 0, 1]])
    assert any("head kept" in note and "order" in note for note in initialised.notes)


def test_numbers_without_names_are_places_among_the_weights_classes(given: Classifier, tmp_path: Path) -> None:
    initialised = initialise_classifier(TimeSformerSettings(**TINY), Preprocessing(), ("0", "1"), tmp_path / "model")
    assert torch.equal(initialised.classifier.model.head.weight, given.model.head.weight)
    assert initialised.classifier.labels == ("a", "b")
    assert any("head kept" in note and "numbers" in note for note in initialised.notes)


@pytest.mark.parametrize(
    ("old", "new"),
    [(("a", "b"), ("0", "1", "2")), (("7", "b"), ("0", "1")), (("a", "b"), ("1", "2")), (("a", "b"), ("a", "c"))],
)
def test_other_classes_get_a_new_head(tmp_path: Path, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    model = TimeSformer(**TINY, num_classes=2, initialisation="scratch")
    Classifier(model, Preprocessing(), old).save_pretrained(tmp_path / "model")
    initialised = initialise_classifier(TimeSformerSettings(**TINY), Preprocessing(), new, tmp_path / "model")
    assert initialised.classifier.labels == new
    assert not torch.isin(initialised.classifier.model.head.weight, model.head.weight).all(1).any()
    assert any(f"new head for {len(new)} classes" in note for note in initialised.notes)
