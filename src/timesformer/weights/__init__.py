"""Weights, wherever they come from, as a classifier."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from timesformer.errors import WeightsError
from timesformer.weights.classifier import Classifier
from timesformer.weights.files import read_json, read_pickle
from timesformer.weights.hub import download, is_hub_id
from timesformer.weights.huggingface import is_huggingface, load_huggingface
from timesformer.weights.labels import read_labels
from timesformer.weights.mmaction2 import is_mmaction2, load_mmaction2
from timesformer.weights.native import is_native, load_native
from timesformer.weights.official import is_official, load_official

__all__ = ["Classifier", "open_weights"]


def open_weights(weights: str | Path, *, labels: str | Path | None = None, heads: int | None = None) -> Classifier:
    """The classifier that WEIGHTS names.

    WEIGHTS: a folder of this package's weights or of a training run; a .pyth file of the official code; a .pth file
    of mmaction2; a Hugging Face folder; or a hub id, such as facebook/timesformer-base-finetuned-k400, with
    @revision if need be. Its content tells which.
    labels: a text file of class names, one a line, in place of those that come with the weights.
    heads: attention heads, for .pyth and .pth files whose width is no multiple of 64; nothing in them tells.

    Raises WeightsError, in one line, for anything else, and for tensors that do not all fit.
    """
    classifier = _open(weights, heads)
    if labels is not None:
        names = read_labels(labels)
        if len(names) != len(classifier.labels):
            raise WeightsError(f"{labels}: {len(names)} class names; {weights} has {len(classifier.labels)} classes")
        classifier = dataclasses.replace(classifier, labels=names)
    return classifier


def _open(weights: str | Path, heads: int | None) -> Classifier:
    path = find_weights(weights)
    if path.is_dir():
        config = read_json(path / "config.json")
        if is_native(config):
            return load_native(path)
        if is_huggingface(config):
            return load_huggingface(path)
        kind = config.get("model_type") or ", ".join(list(config)[:4])
        raise WeightsError(f"{path}: weights of another model ({kind}); expected a TimeSformer's")
    if path.suffix == ".safetensors":
        raise WeightsError(f"{path}: tensors alone; a TimeSformer's have a config.json beside them")
    content = read_pickle(path)
    if is_official(content):
        return load_official(content, path, heads)
    if is_mmaction2(content):
        return load_mmaction2(content, path, heads)
    raise WeightsError(f"{path}: a checkpoint of another model ({describe(content)}); expected the official code's or "
                       "mmaction2's TimeSformer")  # fmt: skip


def find_weights(weights: str | Path) -> Path:
    """The file, or the folder with config.json, that WEIGHTS names; a hub id is downloaded."""
    path = Path(weights)
    if not path.exists() and is_hub_id(str(weights)):
        return download(str(weights))
    if not path.exists():
        raise WeightsError(f"{weights}: no such file or folder")
    if path.is_file():
        beside = path.suffix == ".safetensors" and (path.parent / "config.json").is_file()
        return path.parent if beside else path
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return folder
    raise WeightsError(f"{weights}: holds no weights; expected config.json and model.safetensors in it or in its "
                       "folder model/ (a run that has not ended its first epoch has none yet)")  # fmt: skip


def describe(content: object) -> str:
    """What a checkpoint looks like, in a few words."""
    if not isinstance(content, dict):
        return type(content).__name__
    for key in ("model_state", "state_dict", "model"):
        if isinstance(content.get(key), dict):
            return f"{key}: {describe(content[key])}"
    names = [str(name) for name in content]
    return f"{len(names)} entries: {', '.join(names[:3])}{', ...' if names[3:] else ''}"
