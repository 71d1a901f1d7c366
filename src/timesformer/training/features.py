"""Features of a frozen backbone, computed once and kept in RUN/features/SPLIT.safetensors.

The file also says what its features are of. Where that is something else than what is wanted, they are computed anew.

Dimensions: N clips, M tokens, D channels.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from timesformer.config import Recipe
from timesformer.data.dataset import Batch, LeftOut, Problem, TestingViews
from timesformer.data.loader import testing_loader
from timesformer.data.quarantine import inside
from timesformer.disk import replacing
from timesformer.model.timesformer import TimeSformer
from timesformer.training.log import Log
from timesformer.video.transforms import normalise
from timesformer.weights import Classifier
from timesformer.weights.files import read_safetensors


class Features(NamedTuple):
    """Class tokens (N, D) or all tokens (N, M, D) of clips, the class of each, and the video it is of."""

    features: Tensor
    labels_N: Tensor
    videos_N: Tensor


def find_features(
    classifier: Classifier,
    views: TestingViews,
    recipe: Recipe,
    file: Path,
    facts: dict[str, Any],
    left_out: LeftOut,
    log: Log,
    console: Console,
) -> Features:
    """Features of all clips of `views`, from `file` where they are there already.

    `facts`: kept beside them, for a resumed run to compare. `left_out` counts the videos that cannot be read, those of
    features computed before too.
    """
    manifest = views.manifest
    origin = {
        "backbone": _digest(classifier.model),
        "model": classifier.model.settings.model_dump(mode="json"),
        "preprocessing": views.preprocessing.model_dump(mode="json"),
        "precision": recipe.training.precision,
        "videos": manifest.digest(),
    }
    if file.exists():
        tensors, kept = read_safetensors(file), read_notes(file)
        others = [name for name in origin if kept["origin"].get(name) != origin[name]]
        if not others:
            left_out.add([Problem(manifest.folder / path, reason) for path, reason in kept["left_out"]])
            return Features(tensors["features"], tensors["labels"], tensors["videos"])
        log.say(f"note    the features of {manifest.split} that were kept are of another {' and '.join(others)}: anew")
    features = _compute(classifier, views, recipe, left_out, log, console)
    reasons = [(inside(manifest.folder, path), reason) for path, reason in left_out.reasons.items()]
    notes = {"origin": origin, "facts": facts, "left_out": reasons}
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        save_file(
            {"features": features.features, "labels": features.labels_N, "videos": features.videos_N},
            temporary,
            metadata={name: json.dumps(value) for name, value in notes.items()},
        )
    return features


def read_notes(file: Path) -> dict[str, Any]:
    """What a file of features says of itself: origin, facts and left_out."""
    with safe_open(file, "pt") as opened:
        return {name: json.loads(value) for name, value in opened.metadata().items()}


def _digest(model: TimeSformer) -> str:
    """A hash of all weights that features depend on."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if not name.startswith(("head.", "pooling.")):
            digest.update(name.encode() + tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _compute(
    classifier: Classifier, views: TestingViews, recipe: Recipe, left_out: LeftOut, log: Log, console: Console
) -> Features:
    model = classifier.model.eval()
    device, precision = next(model.parameters()).device, recipe.training.precision
    parts, labels, videos = [], [], []
    loader = testing_loader(views, recipe.training.batch_size, recipe.data)
    doing = f"features of {views.manifest.split}"
    for batch in track(loader, doing, console=console, transient=True, disable=not console.is_terminal):
        assert isinstance(batch, Batch)
        for problem in left_out.add(batch.problems):
            log.say(f"left out: {problem.reason}", style="yellow")
        if not len(batch.labels_B):
            continue
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            clips_BCTHW = normalise(batch.views_VCTSS.to(device), classifier.preprocessing)
            attentive = model.settings.pooling == "attentive"
            found = model.forward_tokens(clips_BCTHW) if attentive else model.forward_features(clips_BCTHW)
        parts.append(found.to(torch.bfloat16 if attentive else torch.float32).cpu())
        labels.append(batch.labels_B.repeat_interleave(batch.counts_B))
        videos.append(batch.rows_B.repeat_interleave(batch.counts_B))
    return Features(torch.cat(parts), torch.cat(labels), torch.cat(videos))
