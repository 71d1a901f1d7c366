"""A model alone, saved and loaded in the hub's usual manner."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from timesformer.config import Preprocessing
from timesformer.errors import WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights import open_weights
from timesformer.weights.classifier import Classifier, check_labels
from timesformer.weights.labels import default_labels
from timesformer.weights.native import save_native


def from_pretrained(weights: str | Path, revision: str | None, heads: int | None) -> TimeSformer:
    """The model of weights of any layout; what came with it stays with it."""
    classifier = open_weights(weights if revision is None else f"{weights}@{revision}", heads=heads)
    model = classifier.model
    model.labels, model.preprocessing = classifier.labels, classifier.preprocessing
    model.facts = dict(classifier.facts)
    return model


def save_pretrained(
    model: TimeSformer,
    folder: str | Path,
    labels: Sequence[str] | None,
    preprocessing: Preprocessing | None,
    facts: Mapping[str, str] | None,
) -> None:
    """Write a model with class names and preprocessing: those given, else those it came with, else defaults."""
    save_native(_classifier(model, labels, preprocessing, folder), folder, facts)


def push_to_hub(
    model: TimeSformer,
    repository: str,
    labels: Sequence[str] | None,
    preprocessing: Preprocessing | None,
    facts: Mapping[str, str] | None,
    *,
    private: bool,
    token: str | None,
) -> str:
    """Upload what `save_pretrained` writes; returns the repository's address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the one it uses itself

    classifier = _classifier(model, labels, preprocessing, repository)
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        save_native(classifier, Path(folder) / "model", facts)
        try:
            address = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=Path(folder) / "model")
        except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
            raise WeightsError(f"{repository}: cannot be uploaded: {' '.join(str(error).split())[:160]}") from None
    return str(address)


def _classifier(
    model: TimeSformer, labels: Sequence[str] | None, preprocessing: Preprocessing | None, place: str | Path
) -> Classifier:
    names = model.labels or default_labels(model.settings.num_classes) if labels is None else tuple(labels)
    check_labels(names, model.settings.num_classes, place)
    return Classifier(model, preprocessing or model.preprocessing or Preprocessing(), names, model.facts)
