"""The classifier that is evaluated or predicts, and how it sees videos: clips, crops, frames, size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from timesformer.config import Preprocessing
from timesformer.settings import make
from timesformer.weights.classifier import Classifier
from timesformer.weights.ensemble import load_classifiers
from timesformer.weights.resize import resize_classifier


def as_classifiers(
    weights: str | Path | Classifier, labels: str | Path | None = None, heads: int | None = None
) -> tuple[Classifier, ...]:
    """What `timesformer.load` takes as WEIGHTS, with the class names of a file where given: a classifier, or the
    members of an ensemble."""
    if not isinstance(weights, Classifier):
        return load_classifiers(weights, labels=labels, heads=heads)
    return (weights if labels is None else weights.with_labels(labels),)


def change_protocol(
    classifier: Classifier,
    *,
    clips: int | None = None,
    crops: int | None = None,
    sampling: str | None = None,
    frames: int | None = None,
    image_size: int | None = None,
    position_resize: str | None = None,
) -> Classifier:
    """The classifier with the given parts of its test protocol changed; None leaves a part as it is.

    clips, crops: temporal clips and spatial crops of a video; sampling: "span", "segments" or "cover"; frames of a
    clip, image_size in pixels and position_resize: as `resize_classifier` has them. Raises SettingError for a value
    that is not allowed.
    """
    resized = resize_classifier(classifier, image_size, frames, position_resize)
    protocol: dict[str, Any] = resized.preprocessing.model_dump()
    protocol |= {name: value for name, value in (("test_clips", clips), ("test_crops", crops)) if value is not None}
    if sampling is not None:
        protocol["sampling"]["method"] = sampling
    return replace(resized, preprocessing=make(Preprocessing, protocol, "test protocol"))
