"""Whether a run may begin in a folder, or go on in one, and where it then goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from timesformer.config import Recipe
from timesformer.errors import SettingError
from timesformer.training.features import read_notes
from timesformer.training.log import read_sessions

# Changes that cannot be accepted: the weights or the optimiser's memory would not fit.
FIXED = ("model.", "optimizer.name", "optimizer.layer_decay", "optimizer.decay_all", "training.ema", "init", "classes")
# Changes that an epoch in the middle cannot go on with: they decide what its batches are.
EPOCH = (
    "seed",
    "training.batch_size",
    "training.accumulate",
    "training.balance",
    "augmentation.repeats",
    "data.fraction",
    "processes",
    "videos",
)


class Place(NamedTuple):
    """Where a run goes on: its checkpoint, the steps behind it, its epoch and batch, and what has changed since."""

    checkpoint: Path
    steps: int
    epoch: int
    batch: int
    changed: list[str]


def check_new(out: Path) -> None:
    """Raises SettingError where a new run cannot begin in a folder: it must not exist or be empty."""
    if out.exists() and not out.is_dir():
        raise SettingError(f"{out}: is a file; a run needs a folder")
    if read_sessions(out):
        raise SettingError(f"{out}: holds a run already; go on with --resume or name another folder")
    if out.exists() and any(out.iterdir()):
        raise SettingError(f"{out}: is not empty; a run needs a folder of its own")


def find_place(out: Path, recipe: Recipe, facts: dict[str, Any], *, accept: bool) -> Place | None:
    """Where the run in `out` goes on; None where it was stopped before its first checkpoint.

    `facts`: what beside the recipe must be as it was: init, classes, processes, videos. Raises SettingError for no run,
    for files that are damaged, and for changes, all of them listed, unless `accept` and they can be accepted.
    """
    file, features = out / "checkpoints" / "last.ckpt", out / "features" / "train.safetensors"
    now = recipe.model_dump(mode="json")
    if not read_sessions(out) and not file.exists():
        if (out / "log.txt").exists():
            return None  # killed before it had begun
        raise SettingError(f"{out}: nothing to resume, there is no run in it")
    try:
        before = dict(yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8")))
        steps = epoch = batch = 0
        if file.exists():
            kept = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            before = {**kept["recipe"], **kept["facts"]}  # recipe.yaml may hold changes that no step was taken with
            now |= facts
            steps, (epoch, batch) = int(kept["global_step"]), kept["place"]
        elif features.exists():
            before |= read_notes(features)["facts"]
            now |= facts
    except Exception as error:  # whatever a damaged file makes yaml and torch raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        name = features.name if features.exists() else file.name
        raise SettingError(f"{out}: recipe.yaml or {name} is damaged, so the run cannot go on: {reason}") from None
    changed = differences(before, now)
    names = [line.split(" was ")[0] for line in changed]
    fixed = [line for line, name in zip(changed, names, strict=True) if name.startswith(FIXED)]
    within = [line for line, name in zip(changed, names, strict=True) if batch and name in EPOCH]
    if fixed and file.exists():
        raise SettingError(f"{out}: cannot go on, since the run began with other weights: {'; '.join(fixed)}")
    if changed and not accept:
        raise SettingError(f"{out}: changed since the run began: {'; '.join(changed)}; --accept-changes goes on so")
    if within:
        raise SettingError(f"{out}: stopped inside an epoch, which needs the batches it had: {'; '.join(within)}")
    if recipe.training.epochs < epoch + bool(batch):
        at = f"inside epoch {epoch + 1}" if batch else f"past epoch {epoch}"
        raise SettingError(f"{out}: the run is {at} already; training.epochs is {recipe.training.epochs}")
    return Place(file, steps, epoch, batch, changed) if file.exists() else None


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two nested dictionaries, a line each: `key was OLD, is NEW`."""
    changed = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changed += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            changed.append(f"{prefix}{key} was {_short(old)}, is {_short(new)}")
    return changed


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
