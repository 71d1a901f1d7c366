"""This package's own layout: a folder of config.json and model.safetensors.

config.json holds the format's version, the settings of the model, the preprocessing and the class names:

    {"format": "timesformer", "version": 1, "model": {...}, "preprocessing": {...}, "labels": [...], "facts": {...}}

`facts` is what is known of the training, as the model card (README.md) tells it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timesformer.config import ModelSettings, Preprocessing
from timesformer.errors import WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.card import model_card
from timesformer.weights.classifier import Classifier, check_labels, load_strictly
from timesformer.weights.files import new_folder, read_json, read_safetensors, write_safetensors
from timesformer.weights.names import settings_from

VERSION = 1
FILES = ("config.json", "model.safetensors", "README.md")


class Configuration(NamedTuple):
    """All of a classifier but its tensors."""

    model: ModelSettings
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    facts: dict[str, str]

    def classifier(self, tensors: dict[str, Tensor], source: Path) -> Classifier:
        """The classifier with these tensors, strictly loaded."""
        model = TimeSformer(**self.model.model_dump()).eval()
        load_strictly(model, tensors, source)
        return Classifier(model, self.preprocessing, self.labels, self.facts)


def save_native(classifier: Classifier, folder: str | Path, facts: Mapping[str, str] | None = None) -> None:
    """Write a classifier to a folder, which appears, or replaces an older one, only when it is complete.

    `facts`: what is known of its training, beside the classifier's own. Raises WeightsError where the folder holds
    something other than weights, and where it cannot be written.
    """
    classifier = dataclasses.replace(classifier, facts={**classifier.facts, **(facts or {})})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.model.state_dict().items()}
    text = json.dumps(classifier_config(classifier), indent=2, ensure_ascii=False)
    with new_folder(Path(folder), FILES) as place:
        write_safetensors(tensors, place / "model.safetensors")
        (place / "config.json").write_text(text + "\n", "utf-8")
        (place / "README.md").write_text(model_card(classifier), "utf-8")


def load_native(folder: Path) -> Classifier:
    """Read a folder written by `save_native`; every tensor must be there, fit, and be known."""
    file = folder / "config.json"
    config = read_config(read_json(file), file)
    assert config is not None
    weights = folder / "model.safetensors"
    tensors = read_safetensors(weights)
    if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        return config.classifier(tensors, weights)
    # The model's tensors are the file's, mapped into memory: nothing is drawn, copied or read before it is needed.
    with torch.device("meta"):
        model = TimeSformer(**config.model.model_dump()).eval()
    load_strictly(model, tensors, weights, assign=True)
    reread = functools.partial(read_safetensors, weights)
    return Classifier(model, config.preprocessing, config.labels, config.facts, reread)


def is_native(config: Mapping[str, Any]) -> bool:
    """Whether a folder's config.json has this layout."""
    return config.get("format") == "timesformer"


def classifier_config(classifier: Classifier) -> dict[str, Any]:
    """All of a classifier but its tensors, as plain values."""
    return {
        "format": "timesformer",
        "version": VERSION,
        "model": classifier.model.settings.model_dump(mode="json"),
        "preprocessing": classifier.preprocessing.model_dump(mode="json"),
        "labels": list(classifier.labels),
        "facts": dict(classifier.facts),
    }


def read_config(config: object, source: Path) -> Configuration | None:
    """Read what `classifier_config` wrote; None for None. Raises WeightsError for what is missing or not allowed."""
    if config is None:
        return None
    if not isinstance(config, dict) or not is_native(config):
        raise WeightsError(f'{source}: not a configuration of this package (no "format": "timesformer")')
    if config.get("version") != VERSION:
        raise WeightsError(f"{source}: version {config.get('version')!r}; this package reads version {VERSION}")
    try:
        found = Configuration(
            settings_from(ModelSettings, config["model"], f"{source}: model"),
            settings_from(Preprocessing, config["preprocessing"], f"{source}: preprocessing"),
            tuple(str(name) for name in config["labels"]),
            {str(name): str(value) for name, value in dict(config.get("facts", {})).items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{source}: incomplete: {error}") from None
    check_labels(found.labels, found.model.num_classes, source)
    return found
