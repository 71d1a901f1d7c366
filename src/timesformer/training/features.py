"""Features of a frozen network, computed once and kept in RUN/features/SPLIT.safetensors.

The file also says what its features were computed from. Where that is not what is wanted, they are computed anew.

Dimensions: N clips, M tokens, D channels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from safetensors import safe_open
from torch import Tensor

from timesformer.config import ProbeRecipe
from timesformer.data.dataset import Batch, SkippedVideos, TestingViews
from timesformer.data.loader import testing_loader
from timesformer.data.quarantine import inside
from timesformer.engine.engine import Engine
from timesformer.errors import VideoError
from timesformer.files import replacing
from timesformer.model.protocol import VideoModel
from timesformer.training.log import Log
from timesformer.weights.storage import read_safetensors, write_safetensors


class Features(NamedTuple):
    """Features (N, D) or all tokens (N, M, D) of clips, the class of each, and the row of its video."""

    features: Tensor
    labels_N: Tensor
    videos_N: Tensor


class Origin(NamedTuple):
    """What features are computed from; `make_engine` makes the network fast, and is called where it is needed."""

    model: VideoModel
    recipe: ProbeRecipe
    make_engine: Callable[[], Engine]

    def describe(self, views: TestingViews) -> dict[str, Any]:
        """As it is written beside the features of a split."""
        return {
            "backbone": _digest(self.model),
            "model": self.model.settings.model_dump(mode="json"),
            "preprocessing": views.preprocessing.model_dump(mode="json"),
            "precision": self.recipe.probe.precision,
            "videos": views.manifest.digest(),
        }


def find_features(
    origin: Origin,
    views: TestingViews,
    file: Path,
    facts: dict[str, Any],
    skipped: SkippedVideos,
    log: Log,
    console: Console,
) -> Features:
    """Features of all clips of `views`, from `file` where they are there already.

    `facts`: kept beside them, for a resumed run to compare. `skipped` counts the videos that cannot be read, those of
    features computed before too.
    """
    manifest, described = views.manifest, origin.describe(views)
    if file.exists():
        tensors, kept = read_safetensors(file), read_notes(file)
        different = [name for name in described if kept["origin"].get(name) != described[name]]
        if not different:
            skipped.add([VideoError(manifest.folder / path, reason) for path, reason in kept["skipped"]])
            return Features(tensors["features"], tensors["labels"], tensors["videos"])
        log.say(f"note    {file} has a different {' and '.join(different)}; its features are computed anew")
    features = _compute(origin, views, skipped, log, console)
    reasons = [(inside(manifest.folder, path), reason) for path, reason in skipped.reasons.items()]
    notes = {"origin": described, "facts": facts, "skipped": reasons}
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        write_safetensors(
            {"features": features.features, "labels": features.labels_N, "videos": features.videos_N},
            temporary,
            metadata={name: json.dumps(value) for name, value in notes.items()},
        )
    return features


def read_notes(file: Path) -> dict[str, Any]:
    """What a file of features says of itself: origin, facts and skipped."""
    with safe_open(file, "pt") as opened:
        return {name: json.loads(value) for name, value in opened.metadata().items()}


def sees_tokens(model: VideoModel) -> bool:
    """Whether a probe's head sees all tokens: it has a pooling of its own."""
    return model.head_sees_tokens()


def _digest(model: VideoModel) -> str:
    """A hash of all weights that features depend on."""
    digest, head = hashlib.sha256(), tuple(f"{name}." for name in model.head_names())
    for name, tensor in model.state_dict().items():
        if not name.startswith(head):
            digest.update(name.encode() + tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _compute(origin: Origin, views: TestingViews, skipped: SkippedVideos, log: Log, console: Console) -> Features:
    engine, tokens = origin.make_engine(), sees_tokens(origin.model)
    parts, labels, videos = [], [], []
    loader = testing_loader(views, engine.views, origin.recipe.data)
    title = f"features of {views.manifest.split}"
    for batch in track(loader, title, console=console, transient=True, disable=not console.is_terminal):
        assert isinstance(batch, Batch)
        for problem in skipped.add(batch.problems):
            log.say(f"skipped {problem}", style="yellow")
        for clips in batch.views_VCTSS.split(engine.views) if len(batch.labels_B) else ():
            found = engine.features(clips, tokens=tokens)
            parts.append(found.to(torch.bfloat16 if tokens else torch.float32).cpu())
        labels.append(batch.labels_B.repeat_interleave(batch.counts_B))
        videos.append(batch.rows_B.repeat_interleave(batch.counts_B))
    return Features(torch.cat(parts), torch.cat(labels), torch.cat(videos))
