"""What an exported file says of itself, and the manifest beside it, which adds what is known when it is complete."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from timesformer.device import version_of
from timesformer.engine.graphs import PACKAGES, Open
from timesformer.export.check import SEEDS, Checked
from timesformer.weights.classifier import Classifier
from timesformer.weights.description import describe
from timesformer.weights.exports import Format


def describe_file(
    classifier: Classifier, form: Format, precision: str, opened: Open, float32_1K: Tensor, own_1K: Tensor
) -> dict[str, Any]:
    """What a file says of itself, see `timesformer.engine.file`. float32_1K, own_1K: logits of the synthetic clip, of
    the model and of what is exported."""
    settings = classifier.settings
    (frames, side), axes = settings.clip_shape, opened.axes
    sides = ("rows", "columns") if "size" in axes else (side, side)
    exported = {
        "format": form,
        "precision": precision,
        "dynamic": list(axes),
        "input": {
            "name": "clips",
            "type": "uint8",
            "axes": ["batch", "channels: red, green, blue", "frames", "rows", "columns"],
            "shape": ["batch" if "batch" in axes else 1, 3, "frames" if "frames" in axes else frames, *sides],
            "multiples": {"frames": settings.frame_unit, "rows": settings.clip_unit, "columns": settings.clip_unit},
        },
        "outputs": {
            "scores": "sigmoid of the logits" if settings.multilabel else "softmax of the logits",
            "logits": "one a class, in the order of labels",
            "features": "what the head sees",
        },
        "reference": {
            "clip": "timesformer.engine.agreement.synthetic_clip, seed 0",
            "float32": float32_1K[0].tolist(),
            "exported": own_1K[0].tolist(),
        },
        "versions": {
            "python": platform.python_version(),
            **{package: version_of(package) for package in ("timesformer", "torch", *PACKAGES[form])},
        },
    }
    return {**describe(classifier.contents()), "exported": exported}


def check_of(
    checked: Checked, on: str | None, skipped: int, others: Checked | None, shapes: Sequence[Tensor]
) -> dict[str, Any]:
    """How a file was checked: on the videos of `on`, or on synthetic clips, and apart from them on `shapes`."""
    clips = f"synthetic clips, seeds 0 to {SEEDS - 1}" if on is None else f"the middle view of each video of {on}"
    sizes = ", ".join(" x ".join(map(str, batch.shape)) for batch in shapes)
    other_shapes = None if others is None else {"on": f"synthetic clips: {sizes}", **others.as_dict()}
    return {"on": clips, "videos_skipped": skipped, **checked.as_dict(), "other_shapes": other_shapes}


def files_of(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file."""
    return {file.name: {"bytes": file.stat().st_size, "sha256": _digest(file)} for file in files}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
