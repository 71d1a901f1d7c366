"""What tells classifiers apart: for files that must not mix what two of them have computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import torch

from timesformer.engine.file import ExportedFile, Loaded

VALUES = 1024  # of every tensor


def fingerprint_of(members: Sequence[Loaded], *, head: bool = True) -> str:
    """A hash of a classifier, or of all members of an ensemble. head: with its last layers and its classes; without
    them it tells features apart, which a calibration does not change."""
    found = [_of_one(member, head) for member in members]
    return found[0] if len(found) == 1 else hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]


def _of_one(classifier: Loaded, head: bool) -> str:
    """A hash of settings, preprocessing, class names and the first values of every tensor: all of them change when a
    network is trained, and reading them takes no time. Of an exported file, of what it says of itself, logits too."""
    if isinstance(classifier, ExportedFile):
        return hashlib.sha256("\n".join((classifier.says, *classifier.labels)).encode()).hexdigest()[:16]
    model, labels = classifier.model, json.dumps(classifier.labels) if head else ""
    skipped = () if head else tuple(f"{name}." for name in model.head_names())
    described = (model.settings.model_dump_json(), classifier.preprocessing.model_dump_json(), labels)
    digest = hashlib.sha256("\n".join(described).encode())
    for name, tensor in model.state_dict().items():
        if skipped and name.startswith(skipped):
            continue
        values = tensor.flatten()[:VALUES].cpu().contiguous().view(torch.uint8)
        digest.update(name.encode() + values.numpy().tobytes())
    return digest.hexdigest()[:16]
