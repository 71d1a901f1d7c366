"""What tells classifiers apart: for files that must not mix what two of them have computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import torch

from timesformer.engine.file import ExportedFile, Loaded

VALUES = 1024  # of every tensor


def fingerprint_of(members: Sequence[Loaded]) -> str:
    """A hash of a classifier, or of all members of an ensemble."""
    found = [_of_one(member) for member in members]
    return found[0] if len(found) == 1 else hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]


def _of_one(classifier: Loaded) -> str:
    """A hash of settings, preprocessing, class names and the first values of every tensor: all of them change when a
    network is trained, and reading them takes no time. Of an exported file, of what it says of itself, logits too."""
    if isinstance(classifier, ExportedFile):
        return hashlib.sha256("\n".join((classifier.says, *classifier.labels)).encode()).hexdigest()[:16]
    model, labels = classifier.model, json.dumps(classifier.labels)
    described = (model.settings.model_dump_json(), classifier.preprocessing.model_dump_json(), labels)
    digest = hashlib.sha256("\n".join(described).encode())
    for name, tensor in model.state_dict().items():
        values = tensor.flatten()[:VALUES].cpu().contiguous().view(torch.uint8)
        digest.update(name.encode() + values.numpy().tobytes())
    return digest.hexdigest()[:16]
