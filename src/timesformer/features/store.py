"""Features in a file, with what they are of and what they were computed from.

A .safetensors file: `features` (N, D) and, where asked for, `tokens` (N, M, D), a row a clip. `labels` (N) and
`videos` (N) are numbers into `classes` and `paths`: the names of the classes, and the paths of all videos of the split
inside the data set, both in the file's metadata, as JSON. There, too: `origin`, what the features depend on, and
`skipped`, the videos that could not be read, each with the reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from timesformer.data.dataset import TestingViews
from timesformer.data.manifest import Manifest
from timesformer.data.quarantine import absolute, inside
from timesformer.errors import VideoError
from timesformer.features.extract import Features
from timesformer.files import replacing
from timesformer.model.protocol import VideoModel
from timesformer.weights.storage import read_safetensors, write_safetensors


def describe_origin(model: VideoModel, views: TestingViews, precision: str, *, tokens: bool = False) -> dict[str, Any]:
    """What features depend on: weights, settings, preprocessing, precision, videos, whether all tokens."""
    return {
        "backbone": _digest(model),
        "model": model.settings.model_dump(mode="json"),
        "preprocessing": views.preprocessing.model_dump(mode="json"),
        "precision": precision,
        "videos": views.manifest.digest(),
        "tokens": tokens,
    }


def write_features(features: Features, manifest: Manifest, file: Path, notes: Mapping[str, Any]) -> None:
    """Write features of the videos of a manifest, whole or not at all. notes: `origin`, and what else is to be kept."""
    reasons = [(inside(manifest.folder, Path(problem.path)), problem.reason) for problem in features.skipped]
    paths = [inside(manifest.folder, video.path) for video in manifest.videos]
    metadata = {**notes, "skipped": reasons, "paths": paths, "classes": manifest.labels}
    tensors = {"features": features.features, "labels": features.labels_N, "videos": features.videos_N}
    if features.tokens is not None:
        tensors["tokens"] = features.tokens
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        write_safetensors(tensors, temporary, metadata={name: json.dumps(value) for name, value in metadata.items()})


def read_features(file: Path, folder: Path) -> Features:
    """The features of a file. folder: of the data set, where the videos that could not be read are."""
    tensors = read_safetensors(file)
    skipped = tuple(VideoError(folder / path, reason) for path, reason in read_notes(file)["skipped"])
    return Features(tensors["features"], tensors["labels"], tensors["videos"], tensors.get("tokens"), skipped)


def select_features(file: Path, whole: Manifest, part: Manifest) -> Features:
    """The features of the videos of `part`, from a file with those of `whole`, which has all of them."""
    row_of = {absolute(video.path): row for row, video in enumerate(whole.videos)}
    kept, label_of = read_features(file, whole.folder), {label: number for number, label in enumerate(part.labels)}
    clips: dict[int, list[int]] = {}
    for clip, row in enumerate(kept.videos_N.tolist()):
        clips.setdefault(row, []).append(clip)
    rows = [row_of[absolute(video.path)] for video in part.videos]
    chosen = torch.tensor([clip for row in rows for clip in clips.get(row, [])], dtype=torch.long)
    videos = torch.tensor([number for number, row in enumerate(rows) for _ in clips.get(row, [])], dtype=torch.long)
    found = kept.clips(chosen)
    labels = torch.tensor([label_of[whole.labels[label]] for label in found.labels_N.tolist()], dtype=torch.long)
    path_of = {absolute(video.path): video.path for video in part.videos}
    skipped = tuple(
        VideoError(path_of[path], problem.reason)
        for problem in found.skipped
        if (path := absolute(Path(problem.path))) in path_of
    )
    return Features(found.features, labels, videos, found.tokens, skipped)


def read_notes(file: Path) -> dict[str, Any]:
    """What a file of features says of itself."""
    with safe_open(file, "pt") as opened:
        return {name: json.loads(value) for name, value in opened.metadata().items()}


def _digest(model: VideoModel) -> str:
    """A hash of all weights that features depend on."""
    digest, head = hashlib.sha256(), tuple(f"{name}." for name in model.head_names())
    for name, tensor in model.state_dict().items():
        if not name.startswith(head):
            digest.update(name.encode() + tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
