"""What a run needs, all of it checked before its first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything

from timesformer.config import Preprocessing, Recipe
from timesformer.data.loader import ShuffledEpochs
from timesformer.data.manifest import Manifest, find_splits, read_manifest
from timesformer.errors import DataError, SettingError
from timesformer.training.launch import Launch, find_launch
from timesformer.training.resume import Place, check_new, find_place
from timesformer.weights.start import Start, start


@dataclass(frozen=True)
class Plan:
    """All that a run needs. `facts`: what beside the recipe a resumed run must find as it was."""

    recipe: Recipe
    training: Manifest
    watched: Manifest | None
    begun: Start
    out: Path
    launch: Launch
    place: Place | None
    facts: dict[str, Any]

    @property
    def sampler(self) -> ShuffledEpochs:
        """How the rows make batches."""
        videos = self.recipe.training.batch_size // self.recipe.augmentation.repeats
        return ShuffledEpochs(len(self.training.videos), self.recipe.seed, videos, self.launch.process)

    @property
    def accumulate(self) -> int:
        """Batches of an optimiser step; an epoch may have fewer than the recipe says."""
        return min(self.recipe.training.accumulate, self.sampler.batches)

    @property
    def batch_size(self) -> int:
        """Clips of a batch of one process; small data may have fewer than the recipe says."""
        return self.sampler.videos * self.recipe.augmentation.repeats

    @property
    def batch(self) -> int:
        """Clips of an optimiser step of all processes."""
        return self.batch_size * self.accumulate * self.launch.process.world


def make_plan(
    recipe: Recipe, data: str | Path, out: Path, init: str | Path | None, *, resume: bool, accept_changes: bool
) -> Plan:
    """Read the data's lists and the weights, and see whether all of it fits; nothing is written.

    Raises TimesformerError for whatever does not fit.
    """
    if accept_changes and not resume:
        raise SettingError("--accept-changes is of a run that goes on; give --resume too")
    launch = find_launch()
    if recipe.probe is not None:
        _check_probe(init, launch)
    if not resume and launch.process.rank == 0:
        check_new(out)
    _check_device(recipe)
    training, watched = _manifests(data, recipe)
    facts = {
        "init": init and str(init),
        "classes": list(training.labels),
        "processes": launch.process.world,
        "videos": f"{len(training.videos)} ({training.digest()})",
    }
    place = find_place(out, recipe, facts, accept=accept_changes) if resume else None
    seed_everything(recipe.seed, workers=False, verbose=False)
    begun = start(recipe.model, recipe.preprocessing, training.labels, init, multilabel=training.multilabel)
    return Plan(recipe, training, watched, begun, out, launch, place, facts)


def _check_probe(init: str | Path | None, launch: Launch) -> None:
    if init is None:
        raise SettingError("a probe trains a head on a frozen backbone: name its weights with --init")
    if launch.process.world > 1:
        raise SettingError(f"a probe runs in one process; this one is of {launch.process.world}")


def _check_device(recipe: Recipe) -> None:
    device, precision = recipe.training.device, recipe.training.precision
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        raise SettingError(f"training.device is {device}; there is none on this machine (auto takes what there is)")
    gpu = any(there.values()) if device == "auto" else device != "cpu"
    if precision == "16-mixed" and not gpu:
        raise SettingError("training.precision is 16-mixed; a CPU computes in 32-true or bf16-mixed")


def _manifests(data: str | Path, recipe: Recipe) -> tuple[Manifest, Manifest | None]:
    left_out = True if recipe.data.quarantine is None else recipe.data.quarantine
    training = read_manifest(data, "train", quarantine=left_out)
    if len(training.labels) < 2 and not training.multilabel:
        raise DataError(f"{training.source}: {len(training.labels)} class ({training.labels[0]}); a classifier needs 2")
    if training.multilabel and recipe.training.label_smoothing:
        smoothing = f"training.label_smoothing is {recipe.training.label_smoothing:g}"
        raise SettingError(f"{smoothing}; data with several classes a video need training.label_smoothing=0")
    if training.multilabel and recipe.probe is not None:
        raise SettingError("a probe needs data with one class a video; train with another recipe")
    training = training.subset(recipe.data.fraction, recipe.seed)
    splits = find_splits(data)
    candidates = ("val",) if recipe.probe is not None else ("val", "test")  # a probe watches only what chooses
    watched = next((split for split in candidates if split in splits), None)
    if watched is None:
        return training, None
    watching = read_manifest(data, watched, quarantine=left_out)
    if watching.multilabel != training.multilabel:
        names = ("one class a video", "several classes a video")
        found, expected = names[watching.multilabel], names[training.multilabel]
        raise DataError(f"{watching.source}: has {found}, but {training.source} has {expected}")
    return training, watching.with_labels(training.labels)


def card_facts(plan: Plan) -> dict[str, str]:
    """What the model card says of a run."""
    return {
        "data": f"{plan.training.folder.name}, {len(plan.training.videos)} videos",
        "seed": str(plan.recipe.seed),
        "recipe": "recipe.yaml of the run",
    }


def single_view(preprocessing: Preprocessing) -> Preprocessing:
    """One centre crop of one clip, of `cover` too: enough to watch a run."""
    sampling = preprocessing.sampling
    if sampling.method == "cover":
        sampling = sampling.model_copy(update={"method": "span"})
    return preprocessing.model_copy(update={"test_clips": 1, "test_crops": 1, "sampling": sampling})
