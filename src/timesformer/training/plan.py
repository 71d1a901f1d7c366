"""What a run needs, all of it checked before its first step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from lightning.pytorch import seed_everything

from timesformer.config import AnyRecipe, Preprocessing, ProbeRecipe, Recipe
from timesformer.data.dataset import SkippedVideos
from timesformer.data.loader import ShuffledEpochs
from timesformer.data.manifest import Manifest
from timesformer.errors import SettingError
from timesformer.training.heads import has_linear_head, make_heads
from timesformer.training.launch import Launch, find_launch
from timesformer.training.resume import (
    VALIDATION_PART,
    ResumePoint,
    check_new,
    check_probe_resumes,
    find_resume_point,
    read_validation_part,
)
from timesformer.training.trainable import Trainable, find_trainable, read_new
from timesformer.training.typical_length import with_window
from timesformer.training.videos import choose_videos, read_training
from timesformer.weights.initialise import Initialised, initialise_classifier

FEWEST = 30  # videos of a validation part that choose an epoch; of fewer, luck does

R = TypeVar("R", Recipe, ProbeRecipe)


class SharedFeatures(NamedTuple):
    """All videos that several probes are trained on parts of, and the file that has the features of all of them."""

    training: Manifest
    file: Path


@dataclass(frozen=True)
class Plan(Generic[R]):
    """All that a run needs. `facts`: what beside the recipe a resumed run must find as it was. `shared`: the features
    of all folds, where this is one of them."""

    recipe: R
    training: Manifest
    validation: Manifest | None
    initialised: Initialised
    out: Path
    launch: Launch
    facts: dict[str, Any]
    shared: SharedFeatures | None = field(default=None, kw_only=True)

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
    """A plan to train a whole network. `resume_point`: None for a run that starts with its first step. `trainable`:
    what of the network is trained; None for all."""

    resume_point: ResumePoint | None = None
    trainable: Trainable | None = None

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
        """Clips of the largest batch of one process; small data may have fewer than the recipe says."""
        return self.sampler.videos * self.recipe.augmentation.repeats

    @property
    def starts_from_probe(self) -> bool:
        """Whether the head starts as a linear probe: the weights have none for these classes, nor has a checkpoint."""
        if self.recipe.training.initial_head == "new" or self.resume_point is not None:
            return False
        return not self.initialised.keeps_head

    @property
    def validation_is_cut(self) -> bool:
        """Whether what validates was cut off the training videos."""
        return self.validation is not None and self.validation.source == self.training.source

    @property
    def chooses_epoch(self) -> bool:
        """Whether validation chooses the epoch that is kept: not on `test`, nor on a part of a few videos."""
        if self.validation is None or self.validation.split != "val":
            return False
        return not self.validation_is_cut or len(self.validation.videos) >= FEWEST

    def skipped_videos(self) -> list[SkippedVideos]:
        """What counts the videos that cannot be read: of those that are trained on, and of those that validate; one for
        both where these were cut off the former."""
        training, validation, limit = self.training, self.validation, self.recipe.data.max_bad_fraction
        if self.validation_is_cut:
            return [SkippedVideos(training, limit, validation)]
        return [SkippedVideos(manifest, limit) for manifest in (training, validation) if manifest]

    @property
    def batch(self) -> int:
        """Clips of the largest optimiser step of all processes."""
        return self.batch_size * self.accumulate * self.launch.process.world


def plan_run(recipe: AnyRecipe, data: str | Path, out: Path, init: str | Path | None, **how: bool) -> Plan[Any]:
    """The plan of a recipe's task; `how`: as for `plan_training`."""
    if isinstance(recipe, ProbeRecipe):
        return plan_probe(recipe, data, out, init, **how)
    return plan_training(recipe, data, out, init, **how)


def plan_training(
    recipe: Recipe,
    data: str | Path,
    out: Path,
    init: str | Path | None,
    *,
    resume: bool = False,
    accept_changes: bool = False,
) -> TrainingPlan:
    """Read the data's lists and the weights, and check that all of it fits; nothing is written.

    Raises TimesformerError for whatever does not fit.
    """
    launch = _check_start(recipe, out, init, resume=resume)
    training, other = read_training(recipe, data)
    kept = read_validation_part(out, recipe) if resume else None
    videos = choose_videos(recipe, training, other, kept)
    facts: dict[str, Any] = {} if videos.part is None else {VALIDATION_PART: videos.part}
    facts |= _facts(videos.training, launch)
    point = find_resume_point(out, recipe, facts, accept=accept_changes) if resume else None
    initialised = _initialise(recipe, videos.training, init)
    if resume and init is not None:
        initialised = initialised._replace(new=read_new(Path(init)))
    trainable = _find_trainable(recipe, initialised)
    _check_initial_head(recipe, initialised)
    return TrainingPlan(recipe, videos.training, videos.validation, initialised, out, launch, facts, point, trainable)


def plan_probe(
    recipe: ProbeRecipe,
    data: str | Path,
    out: Path,
    init: str | Path | None,
    *,
    resume: bool = False,
    accept_changes: bool = False,
) -> ProbePlan:
    """As `plan_training`."""
    launch = _check_start(recipe, out, init, resume=resume)
    training, validation, _ = choose_videos(recipe, *read_training(recipe, data))
    facts = _facts(training, launch)
    if resume:
        check_probe_resumes(out, recipe, facts, accept=accept_changes)
    initialised = _initialise(recipe, training, init)
    make_heads(recipe, initialised.classifier.model)
    return ProbePlan(recipe, training, validation, initialised, out, launch, facts)


def single_view(preprocessing: Preprocessing) -> Preprocessing:
    """One centre crop of one clip, for `cover` too: enough for validation."""
    sampling = preprocessing.sampling
    if sampling.method == "cover":
        sampling = sampling.model_copy(update={"method": "span"})
    return preprocessing.model_copy(update={"test_clips": 1, "test_crops": 1, "sampling": sampling})


def check_beside_videos(recipe: AnyRecipe, training: Manifest, out: Path, init: str | Path | None) -> None:
    """Check what is the same for all new runs on parts of a train split, in folders inside of `out`: folder, device,
    weights, what of them is trained. `choose_videos` checks the rest. Raises as `plan_run`; nothing is written."""
    _check_start(recipe, out, init, resume=False)
    initialised = _initialise(recipe, training, init)
    if isinstance(recipe, ProbeRecipe):
        make_heads(recipe, initialised.classifier.model)
    else:
        _find_trainable(recipe, initialised)
        _check_initial_head(recipe, initialised)


def _check_start(recipe: AnyRecipe, out: Path, init: str | Path | None, *, resume: bool) -> Launch:
    launch = find_launch()
    if isinstance(recipe, ProbeRecipe):
        if init is None:
            raise SettingError("a probe needs the weights of a frozen network: name them with --init")
        if launch.process.world > 1:
            raise SettingError(f"a probe runs in one process, but {launch.process.world} were started")
    if not resume and launch.process.rank == 0:
        check_new(out)
    if isinstance(recipe, ProbeRecipe):
        _check_device("probe", recipe.probe.device)
    else:
        _check_device("training", recipe.training.device, recipe.training.precision)
    return launch


def _find_trainable(recipe: Recipe, initialised: Initialised) -> Trainable | None:
    model, from_weights = initialised.classifier.model, initialised.from_weights
    return find_trainable(model, recipe.training, initialised.new, initialised=from_weights)


def _check_initial_head(recipe: Recipe, initialised: Initialised) -> None:
    if recipe.training.initial_head == "new" or initialised.keeps_head:
        return
    if not initialised.from_weights:
        raise SettingError(
            "training.initial_head is probe, a linear layer on the features of weights; name them with --init, or set "
            "it to new"
        )
    model = initialised.classifier.model
    if not has_linear_head(model):
        names, architecture = " and ".join(model.head_names()), model.settings.architecture
        raise SettingError(
            f"training.initial_head is probe, a linear layer, but the head of architecture {architecture} is {names} "
            "here; set it to new"
        )


def _check_device(group: str, device: str, precision: str = "") -> None:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device, True):
        raise SettingError(f"{group}.device is {device}, which this machine does not have; auto takes what it has")
    gpu = any(available.values()) if device == "auto" else device != "cpu"
    if precision == "16-mixed" and not gpu:
        raise SettingError(f"{group}.precision is 16-mixed; a CPU computes in 32-true or bf16-mixed")


def _facts(training: Manifest, launch: Launch) -> dict[str, Any]:
    return {
        "classes": list(training.labels),
        "processes": launch.process.world,
        "videos": _counted(training),
    }


def _counted(manifest: Manifest) -> str:
    """How many videos, and which."""
    return f"{len(manifest.videos)} ({manifest.digest()})"


def _initialise(recipe: Recipe | ProbeRecipe, training: Manifest, init: str | Path | None) -> Initialised:
    seed_everything(recipe.seed, workers=False, verbose=False)
    made = initialise_classifier(
        recipe.model, recipe.preprocessing, training.labels, init, multilabel=training.multilabel
    )
    classifier = made.classifier
    return made._replace(classifier=replace(classifier, preprocessing=with_window(classifier.preprocessing, training)))
