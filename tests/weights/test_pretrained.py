"""A model alone, in the hub's usual manner: what came with its weights stays with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from timesformer import TimeSformer
from timesformer.config import Preprocessing, Sampling
from timesformer.errors import WeightsError
from timesformer.weights import Classifier, open_weights
from timesformer.weights.native import save_native

TINY = {"image_size": 16, "patch_size": 8, "num_frames": 2, "width": 12, "depth": 1, "heads": 3, "num_classes": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights as a training run leaves them."""
    classifier = Classifier(TimeSformer(**TINY), Preprocessing(sampling=Sampling(rate=5), channels="bgr"), ("a", "b"))
    save_native(classifier, tmp_path / "run" / "model", {"data": "mine", "top-1": "0.9", "licence": "mit"})
    return tmp_path / "run"


def test_saving_a_loaded_model_loses_nothing(folder: Path, tmp_path: Path) -> None:
    before = open_weights(folder)
    model = TimeSformer.from_pretrained(folder)
    assert (model.labels, model.preprocessing, model.facts) == (before.labels, before.preprocessing, before.facts)
    model.save_pretrained(tmp_path / "copy", facts={"top-1": "0.8"})
    after = open_weights(tmp_path / "copy")
    assert (after.labels, after.preprocessing) == (before.labels, before.preprocessing)
    assert after.facts == {"data": "mine", "top-1": "0.8", "licence": "mit"}
    assert torch.equal(after.model.head.weight, before.model.head.weight)
    card = (tmp_path / "copy" / "README.md").read_text()
    assert 'license: "mit"' in card
    for row in ("| data | mine |", "| top-1 | 0.8 |", "| clip | 2 frames of 16 x 16 pixels, span, rate 5 |"):
        assert row in card


def test_what_is_given_counts(folder: Path, tmp_path: Path) -> None:
    model = TimeSformer.from_pretrained(folder)
    model.save_pretrained(tmp_path / "copy", labels=["x", "y"], preprocessing=Preprocessing())
    after = open_weights(tmp_path / "copy")
    assert (after.labels, after.preprocessing) == (("x", "y"), Preprocessing())


def test_names_that_do_not_fit_are_an_error_that_names_the_place(tmp_path: Path) -> None:
    message = "3 class names for a model of 2 classes"
    with pytest.raises(WeightsError, match=rf"new: {message}"):
        TimeSformer(**TINY).save_pretrained(tmp_path / "new", labels=["x", "y", "z"])
    with pytest.raises(WeightsError, match=rf"^me/model: {message}"):
        TimeSformer(**TINY).push_to_hub("me/model", labels=["x", "y", "z"], token="t")
    assert list(tmp_path.iterdir()) == []


def test_a_new_model_has_numbers_for_names(tmp_path: Path) -> None:
    model = TimeSformer(**TINY)
    assert (model.labels, model.preprocessing, model.facts) == (None, None, {})
    model.save_pretrained(tmp_path / "new")
    assert open_weights(tmp_path / "new").labels == ("0", "1")


def test_a_card_is_a_table_whatever_it_tells(tmp_path: Path) -> None:
    TimeSformer(**TINY).save_pretrained(tmp_path / "new", facts={"data": "a|b\nc"})
    assert "| data | a\\|b c |" in (tmp_path / "new" / "README.md").read_text()


def test_uploading_without_a_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(WeightsError, match=r"^me/model: cannot be uploaded: ") as raised:
        TimeSformer.from_pretrained(folder).push_to_hub("me/model", token="hf_none")
    assert "\n" not in str(raised.value)
