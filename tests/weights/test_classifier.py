"""A classifier under the hub's usual names: from_pretrained, save_pretrained, push_to_hub."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import timesformer
from timesformer import Classifier, TimeSformer
from timesformer.config import Preprocessing, Sampling
from timesformer.errors import WeightsError
from timesformer.weights.classifier import load_model
from timesformer.weights.labels import default_labels

TINY = {"image_size": 16, "patch_size": 8, "num_frames": 2, "width": 12, "depth": 1, "heads": 3, "num_classes": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights as a training run leaves them."""
    classifier = Classifier(TimeSformer(**TINY), Preprocessing(sampling=Sampling(rate=5), channels="bgr"), ("a", "b"))
    classifier.save_pretrained(tmp_path / "run" / "model", facts={"data": "mine", "top-1": "0.9", "licence": "mit"})
    return tmp_path / "run"


def test_saving_what_was_loaded_loses_nothing(folder: Path, tmp_path: Path) -> None:
    before = Classifier.from_pretrained(folder)
    assert not before.model.training
    before.save_pretrained(tmp_path / "copy", facts={"top-1": "0.8"})
    after = timesformer.load_model(tmp_path / "copy")
    assert (after.labels, after.preprocessing) == (before.labels, before.preprocessing)
    assert after.facts == {"data": "mine", "top-1": "0.8", "licence": "mit"}
    assert after.model.state_dict().keys() == before.model.state_dict().keys()
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(after.model.state_dict()[name], tensor), name
    card = (tmp_path / "copy" / "README.md").read_text()
    assert 'license: "mit"' in card
    for row in ("| data | mine |", "| top-1 | 0.8 |", "| clip | 2 frames of 16 x 16 pixels, span, rate 5 |"):
        assert row in card


def test_what_is_replaced_counts(folder: Path, tmp_path: Path) -> None:
    classifier = dataclasses.replace(load_model(folder), labels=("x", "y"), preprocessing=Preprocessing())
    classifier.save_pretrained(tmp_path / "copy")
    after = load_model(tmp_path / "copy")
    assert (after.labels, after.preprocessing) == (("x", "y"), Preprocessing())


def test_names_that_do_not_fit() -> None:
    with pytest.raises(WeightsError, match=r"^Classifier: 3 class names for a model of 2 classes$"):
        Classifier(TimeSformer(**TINY), labels=("x", "y", "z"))


def test_a_new_model_has_defaults(tmp_path: Path) -> None:
    classifier = Classifier(TimeSformer(**TINY))
    assert (classifier.labels, classifier.preprocessing, classifier.facts) == (("0", "1"), Preprocessing(), {})
    classifier.save_pretrained(tmp_path / "new")
    assert load_model(tmp_path / "new").labels == ("0", "1")
    assert Classifier(TimeSformer(**{**TINY, "num_classes": 400})).labels == default_labels(400)
    assert default_labels(400)[0] == "abseiling"


def test_a_card_is_a_table_whatever_the_facts(tmp_path: Path) -> None:
    Classifier(TimeSformer(**TINY)).save_pretrained(tmp_path / "new", facts={"data": "a|b\nc"})
    assert "| data | a\\|b c |" in (tmp_path / "new" / "README.md").read_text()


def test_the_card_says_how_scores_are_made(tmp_path: Path) -> None:
    for multilabel, words in ((False, "mean of softmax scores"), (True, "mean of sigmoid scores")):
        classifier = Classifier(TimeSformer(**TINY, multilabel=multilabel))
        classifier.save_pretrained(tmp_path / "model")
        card = (tmp_path / "model" / "README.md").read_text()
        assert f"| test | 1 clips x 3 crops, {words} |" in card
        assert ("# TimeSformer for 2 classes, any number of them a video\n" in card) == multilabel


def test_uploading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, Any] = {}

    class Api:
        def __init__(self, token: str | None) -> None:
            sent["token"] = token

        def create_repo(self, name: str, **options: Any) -> str:
            sent["options"] = options
            return f"https://hub/{name}"

        def upload_folder(self, *, repo_id: str, folder_path: Path) -> None:
            sent[repo_id] = load_model(folder_path)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    classifier = load_model(folder)
    assert (
        classifier.push_to_hub("me/model", facts={"licence": "cc0"}, private=True, token="t") == "https://hub/me/model"
    )
    assert (sent["token"], sent["options"]) == ("t", {"private": True, "exist_ok": True})
    assert sent["me/model"].labels == ("a", "b")
    assert sent["me/model"].facts == {**classifier.facts, "licence": "cc0"}


def test_uploading_without_a_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(WeightsError, match=r"^me/model: cannot be uploaded: ") as raised:
        load_model(folder).push_to_hub("me/model", token="hf_none")
    assert "\n" not in str(raised.value)
