"""The classifier that is evaluated or predicts, and how it sees videos: clips, crops, frames, size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from timesformer.config import Preprocessing
from timesformer.engine.file import ExportedFile, Loaded, open_classifiers
from timesformer.errors import SettingError
from timesformer.settings import make
from timesformer.weights.classifier import Classifier
from timesformer.weights.resize import resize_classifier


def as_classifiers(
    weights: str | Path | Classifier, labels: str | Path | None = None, heads: int | None = None
) -> tuple[Loaded, ...]:
    """What `timesformer.load` takes as WEIGHTS, with the class names of a file where given: a classifier, an exported
    file, or the members of an ensemble."""
    if not isinstance(weights, Classifier):
        return open_classifiers(weights, labels=labels, heads=heads)
    return (weights if labels is None else weights.with_labels(labels),)


def change_protocol(
    classifier: Loaded,
    *,
    clips: int | None = None,
    crops: int | None = None,
    sampling: str | None = None,
    frames: int | None = None,
    image_size: int | None = None,
    position_resize: str | None = None,
) -> Loaded:
    """The classifier with the given parts of its test protocol changed; None leaves a part as it is.

    clips, crops: temporal clips and spatial crops of a video; sampling: "span", "segments" or "cover"; frames of a
    clip, image_size in pixels and position_resize: as `resize_classifier` has them. Raises SettingError for a value
    that is not allowed, and for a size that an exported file does not leave open.
    """
    resized: Loaded
    if isinstance(classifier, ExportedFile):
        resized = _resize_file(classifier, image_size, frames, position_resize)
    else:
        resized = resize_classifier(classifier, image_size, frames, position_resize)
    protocol: dict[str, Any] = resized.preprocessing.model_dump()
    protocol |= {name: value for name, value in (("test_clips", clips), ("test_crops", crops)) if value is not None}
    if sampling is not None:
        protocol["sampling"]["method"] = sampling
    return replace(resized, preprocessing=make(Preprocessing, protocol, "test protocol"))


def _resize_file(
    file: ExportedFile, image_size: int | None, frames: int | None, position_resize: str | None
) -> ExportedFile:
    """An exported file for another size of clips, where it leaves that open; its tables are resized as it was made."""
    asked = {"image_size": image_size, "num_frames": frames, "position_resize": position_resize}
    values = file.settings.model_dump()
    changes = {name: value for name, value in asked.items() if value is not None and value != values.get(name)}
    for name, axis in (("image_size", "size"), ("num_frames", "frames"), ("position_resize", "")):
        if name in changes and axis not in file.left_open:
            do = f"export --dynamic {axis} leaves it open" if axis else "export weights that have it"
            raise SettingError(f"{name} {changes[name]}: {file.path} was exported with {values[name]}; {do}")
    return replace(file, settings=make(type(file.settings), values | changes, "test protocol"))
