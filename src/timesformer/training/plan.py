"""What a run needs, all of it checked before its first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from lightning.pytorch import seed_everything

from timesformer.config import Preprocessing, ProbeRecipe, Recipe
from timesformer.data.loader import ShuffledEpochs
from timesformer.data.manifest import Manifest, find_splits, read_manifest
from timesformer.errors import DataError, SettingError
from timesformer.training.launch import Launch, find_launch
from timesformer.training.resume import ResumePoint, check_new, check_probe_resumes, find_resume_point
from timesformer.weights.initialise import Initialised, initialise_classifier

R = TypeVar("R", Recipe, ProbeRecipe)


@dataclass(frozen=True)
class Plan(Generic[R]):
    """All that a run needs. `facts`: what beside the recipe a resumed run must find as it was."""

    recipe: R
    training: Manifest
    validation: Manifest | None
    initialised: Initialised
    out: Path
    launch: Launch
    facts: dict[str, Any]

    @property
    def card_facts(self) -> dict[str, str]:
        """What the model card says of the run."""
        return {
            "data": f"{self.training.folder.name}, {len(self.training.videos)} videos",
            "seed": str(self.recipe.seed),
            "recipe": "recipe.yaml of the run",
        }


ProbePlan = Plan[ProbeRecipe]


@dataclass(frozen=True)
class TrainingPlan(Plan[Recipe]):
    """A plan to train a whole network. `resume_point`: None for a run that starts with its first step."""

    resume_point: ResumePoint | None = None

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


def plan_training(
    recipe: Recipe, data: str | Path, out: Path, init: str | Path | None, *, resume: bool, accept_changes: bool
) -> TrainingPlan:
    """Read the data's lists and the weights, and check that all of it fits; nothing is written.

    Raises TimesformerError for whatever does not fit.
    """
    launch = find_launch()
    _check_folder(out, launch, resume=resume)
    _check_device("training", recipe.training.device, recipe.training.precision)
    training = _training_split(recipe, data)
    smoothing = recipe.training.label_smoothing
    if training.multilabel and smoothing:
        raise SettingError(f"training.label_smoothing is {smoothing:g}; data with several classes a video need 0")
    validation = _validation_split(recipe, data, training, ("val", "test"))
    facts = _facts(training, init, launch)
    point = find_resume_point(out, recipe, facts, accept=accept_changes) if resume else None
    initialised = _initialise(recipe, training, init)
    return TrainingPlan(recipe, training, validation, initialised, out, launch, facts, point)


def plan_probe(
    recipe: ProbeRecipe, data: str | Path, out: Path, init: str | Path | None, *, resume: bool, accept_changes: bool
) -> ProbePlan:
    """As `plan_training`. A probe is validated on `val` alone: the split chooses its head, which `test` must not."""
    launch = find_launch()
    if init is None:
        raise SettingError("a probe needs the weights of a frozen network: name them with --init")
    if launch.process.world > 1:
        raise SettingError(f"a probe runs in one process, but {launch.process.world} were started")
    _check_folder(out, launch, resume=resume)
    _check_device("probe", recipe.probe.device, recipe.probe.precision)
    training = _training_split(recipe, data)
    if training.multilabel:
        raise SettingError(f"{training.source}: has several classes a video; a probe needs data with one")
    validation = _validation_split(recipe, data, training, ("val",))
    facts = _facts(training, init, launch)
    if resume:
        check_probe_resumes(out, recipe, facts, accept=accept_changes)
    return ProbePlan(recipe, training, validation, _initialise(recipe, training, init), out, launch, facts)


def single_view(preprocessing: Preprocessing) -> Preprocessing:
    """One centre crop of one clip, for `cover` too: enough for validation."""
    sampling = preprocessing.sampling
    if sampling.method == "cover":
        sampling = sampling.model_copy(update={"method": "span"})
    return preprocessing.model_copy(update={"test_clips": 1, "test_crops": 1, "sampling": sampling})


def _check_folder(out: Path, launch: Launch, *, resume: bool) -> None:
    if not resume and launch.process.rank == 0:
        check_new(out)


def _check_device(group: str, device: str, precision: str) -> None:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device, True):
        raise SettingError(f"{group}.device is {device}, which this machine does not have; auto takes what it has")
    gpu = any(available.values()) if device == "auto" else device != "cpu"
    if precision == "16-mixed" and not gpu:
        raise SettingError(f"{group}.precision is 16-mixed; a CPU computes in 32-true or bf16-mixed")


def _training_split(recipe: Recipe | ProbeRecipe, data: str | Path) -> Manifest:
    training = read_manifest(data, "train", quarantine=recipe.data.quarantine or True)
    if len(training.labels) < 2 and not training.multilabel:
        raise DataError(
            f"{training.source}: {len(training.labels)} class ({training.labels[0]}); a classifier needs at least 2"
        )
    return training.subset(recipe.data.fraction, recipe.seed)


def _validation_split(
    recipe: Recipe | ProbeRecipe, data: str | Path, training: Manifest, candidates: tuple[str, ...]
) -> Manifest | None:
    """The first of the candidates that the data has, with the training split's classes."""
    split = next((split for split in candidates if split in find_splits(data)), None)
    if split is None:
        return None
    validation = read_manifest(data, split, quarantine=recipe.data.quarantine or True)
    if validation.multilabel != training.multilabel:
        kinds = ("one class a video", "several classes a video")
        found, expected = kinds[validation.multilabel], kinds[training.multilabel]
        raise DataError(f"{validation.source}: has {found}, but {training.source} has {expected}")
    return validation.with_labels(training.labels)


def _facts(training: Manifest, init: str | Path | None, launch: Launch) -> dict[str, Any]:
    return {
        "init": init and str(init),
        "classes": list(training.labels),
        "processes": launch.process.world,
        "videos": f"{len(training.videos)} ({training.digest()})",
    }


def _initialise(recipe: Recipe | ProbeRecipe, training: Manifest, init: str | Path | None) -> Initialised:
    seed_everything(recipe.seed, workers=False, verbose=False)
    return initialise_classifier(
        recipe.model, recipe.preprocessing, training.labels, init, multilabel=training.multilabel
    )
