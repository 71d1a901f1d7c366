"""What tells trainings apart: a hash of recipe, data and weights, which names their folder in the cache.

Of a recipe, the settings that are not the defaults count, without those that change how fast a run is and not what it
ends with. So a setting that a later version adds, and a change of code elsewhere, leave the hash as it is.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from timesformer.config import Recipe
from timesformer.data.layouts import find_splits
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.device import find_device
from timesformer.errors import DataError
from timesformer.settings import Settings

# Settings without an effect on what a run ends with.
WITHOUT_EFFECT = (
    "data.workers",
    "data.max_bad_fraction",
    "data.quarantine",  # the videos that are left are in the hash of the data
    "training.device",  # but of trainings for a time, see `machine_of`
    "training.checkpoint_steps",
    "training.loggers",
)
DIGITS = 16


class StudyData(NamedTuple):
    """The data of a study: what is trained on, the split that is tested, a hash of all splits, and whether the split
    that is tested has the recipe's groups."""

    folder: Path
    training: Manifest
    tested: Manifest
    digest: str
    grouped: bool


def read_data(recipe: Recipe, folder: Path) -> StudyData:
    """The train split of a data set, and `test`, or `val` where there is no `test`.

    The hash is of the videos of all splits: their paths inside the data set, sizes in bytes and classes, and their
    groups where the recipe has a column of groups. Raises DataError as `read_manifest`, and where there is neither.
    """
    quarantine = recipe.data.quarantine or True
    training = read_manifest(folder, "train", quarantine=quarantine)
    splits = find_splits(folder)
    manifests = {"train": training} | {
        split: read_manifest(folder, split, quarantine=quarantine) for split in splits if split != "train"
    }
    tested = next((manifests[split] for split in ("test", "val") if split in manifests), None)
    if tested is None:
        raise DataError(f"{folder}: has no test or val split, which a study needs; `timesformer data split` makes one")
    tested = tested.with_labels(training.labels)
    if tested.multilabel != training.multilabel:
        raise DataError(f"{tested.source}: only one of it and {training.source} has several classes a video")
    digest = hashlib.sha256()
    for split, manifest in manifests.items():
        sizes = [video.path.stat().st_size if video.path.is_file() else 0 for video in manifest.videos]
        named = manifest.groups(recipe.data.group) if recipe.data.group and split == "train" else None
        groups = named or groups_of(recipe, manifest) or []
        digest.update(json.dumps([split, manifest.digest(), sizes, groups]).encode())
    return StudyData(folder, training, tested, digest.hexdigest()[:DIGITS], groups_of(recipe, tested) is not None)


def machine_of(recipe: Recipe, threads: int | None) -> dict[str, Any]:
    """What of a machine decides how far a training of some minutes gets: the device, and the threads that compute.

    threads: as `use_threads` has them; None is the number that compute in this process.
    """
    return {"device": find_device(recipe.training.device).type, "threads": threads or torch.get_num_threads()}


def groups_of(recipe: Recipe, tested: Manifest) -> list[str] | None:
    """The group of each video of a split; None where the recipe has no column of groups, or the list does not."""
    if recipe.data.group is None:
        return None
    try:
        return tested.groups(recipe.data.group)
    except DataError:  # tables say so
        return None


def settings_that_count(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe that are not the defaults of their classes, by dotted names."""
    found = {"model.architecture": recipe.model.architecture} | _changed(recipe, recipe.model_dump(mode="json"), "")
    return {name: value for name, value in found.items() if name not in WITHOUT_EFFECT}


def config_key(recipe: Recipe, extra: dict[str, Any] | None = None) -> str:
    """A hash of a recipe without its seed. extra: what beside it decides what a run ends with."""
    counted = settings_that_count(recipe)
    counted.pop("seed", None)
    return _hash({"recipe": counted} | (extra or {}))


def run_key(recipe: Recipe, data: str, init: str | None, extra: dict[str, Any] | None = None) -> str:
    """A hash of a recipe with its seed, of data and of the weights that it is initialised from."""
    return _hash(
        {"recipe": settings_that_count(recipe), "seed": recipe.seed, "data": data, "init": init} | (extra or {})
    )


def _changed(settings: Settings, values: dict[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            found |= _changed(value, values[name], f"{prefix}{name}.")
        elif name in values and value != field.get_default():
            found[f"{prefix}{name}"] = values[name]
    return found


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:DIGITS]
