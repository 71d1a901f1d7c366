"""Test a classifier otherwise than its weights say: other clips, crops and frames, another size."""

from __future__ import annotations

from typing import Any

from timesformer.config import Preprocessing
from timesformer.settings import make
from timesformer.weights import Classifier
from timesformer.weights.resize import resize_classifier


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
    preprocessing = make(Preprocessing, protocol, "test protocol")
    return Classifier(resized.model, preprocessing, resized.labels, resized.facts)
