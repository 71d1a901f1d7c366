"""Train a classifier: a recipe, a data set, and a folder for the run.

RUN/recipe.yaml        all settings of the run
RUN/model/             the finished classifier, what every other command takes as WEIGHTS
RUN/checkpoints/       last.ckpt to resume from, best.ckpt
RUN/logs/              csv/ and tensorboard/
"""

from __future__ import annotations

import logging
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from rich.console import Console

from timesformer.config import Preprocessing, Recipe
from timesformer.data.dataset import LeftOut, Problem, TestingViews, TrainingClips
from timesformer.data.loader import ShuffledEpochs, testing_loader, training_loader
from timesformer.data.manifest import Manifest, find_splits, read_manifest
from timesformer.errors import DataError, SettingError, TimesformerError
from timesformer.training.callbacks import CountLeftOut, ResumeOrder, RunProgress, SaveClassifier
from timesformer.training.task import ClassificationTask
from timesformer.weights.start import Start, start

ACCELERATORS = {"auto": "auto", "cpu": "cpu", "cuda": "gpu", "mps": "mps"}


@dataclass(frozen=True)
class FitResult:
    """A finished run: its classifier's folder, the epoch it is of, its validation top-1, and the videos left out."""

    model: Path
    epoch: int
    top1: float | None
    left_out: tuple[Problem, ...]


def fit(
    recipe: Recipe,
    data: str | Path,
    out: str | Path,
    *,
    init: str | Path | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> FitResult:
    """Train on the `train` split, watching `val` (or `test` where there is no `val`).

    RUN/model holds the epoch of the best validation top-1; without a `val` split, the last epoch, so that the test
    split chooses nothing. Raises TimesformerError before the first step for whatever does not fit; a run that stops
    before its first checkpoint leaves no folder behind.
    """
    console = console or Console(quiet=True)
    out = Path(out)
    checkpoint = out / "checkpoints" / "last.ckpt"
    _check_folder(out, checkpoint, recipe, resume)
    if resume:
        _check_init(out, init)
    training, watched = _manifests(data)
    seed_everything(recipe.seed, workers=False, verbose=False)
    begun = start(recipe.model, recipe.preprocessing, training.labels, init)
    _announce(console, recipe, training, watched, begun)
    fresh = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    (out / "init.txt").write_text(f"{init or ''}\n", encoding="utf-8")
    try:
        return _run(recipe, training, watched, begun, out, checkpoint if resume else None, console)
    except TimesformerError:
        if fresh and not checkpoint.exists():
            shutil.rmtree(out, ignore_errors=True)
        raise


def _check_folder(out: Path, checkpoint: Path, recipe: Recipe, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise SettingError(f"{out}: is a file; a run needs a folder")
    if resume and not checkpoint.exists():
        raise SettingError(f"{out}: nothing to resume, there is no {checkpoint}")
    if not resume and checkpoint.exists():
        raise SettingError(f"{out}: holds a run already; go on with --resume or name another folder")
    if resume:
        before = yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8"))
        changed = _differences(before, recipe.model_dump(mode="json"))
        if changed:
            raise SettingError(f"{out}: the recipe has changed since the run began: {'; '.join(changed)}")


def _check_init(out: Path, init: str | Path | None) -> None:
    """A resumed run needs the weights it began with: they decided its architecture and its pixels."""
    file = out / "init.txt"
    before = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    if before != str(init or ""):
        began = f"--init {before}" if before else "no --init"
        raise SettingError(f"{out}: the run began with {began}; resume it with the same")


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    changed = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changed += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            changed.append(f"{prefix}{key} was {old}, is {new}")
    return changed


def _manifests(data: str | Path) -> tuple[Manifest, Manifest | None]:
    training = read_manifest(data, "train")
    if len(training.labels) < 2:
        raise DataError(f"{training.source}: {len(training.labels)} class ({training.labels[0]}); a classifier needs 2")
    splits = find_splits(data)
    watched = next((split for split in ("val", "test") if split in splits), None)
    if watched is None:
        return training, None
    return training, read_manifest(data, watched).with_labels(training.labels)


def _announce(console: Console, recipe: Recipe, training: Manifest, watched: Manifest | None, begun: Start) -> None:
    model = begun.classifier.model
    settings = model.settings
    parameters = sum(parameter.numel() for parameter in model.parameters())
    watching = f"{len(watched.videos)} to watch ({watched.split})" if watched else "none to watch"
    effective = recipe.training.batch_size * recipe.training.accumulate
    lines = [
        f"data    {training.folder}: {len(training.videos)} videos to train on, {watching}, "
        f"{len(training.labels)} classes",
        f"model   {settings.scheme}, {parameters / 1e6:.2f} M parameters, {settings.num_frames} frames of "
        f"{settings.image_size} x {settings.image_size}, patch {settings.patch_size}",
        f"steps   {recipe.training.epochs} epochs, {effective} clips a step, {recipe.optimizer.name}, "
        f"learning rate {recipe.optimizer.learning_rate:g}, seed {recipe.seed}",
        *(f"init    {note}" for note in begun.notes),
    ]
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _run(
    recipe: Recipe,
    training: Manifest,
    watched: Manifest | None,
    begun: Start,
    out: Path,
    checkpoint: Path | None,
    console: Console,
) -> FitResult:
    classifier = begun.classifier
    settings, preprocessing = classifier.model.settings, classifier.preprocessing
    clips = TrainingClips(training, settings, preprocessing, recipe.augmentation, recipe.seed)
    loader = training_loader(clips, recipe.training.batch_size, recipe.data)
    assert isinstance(loader.sampler, ShuffledEpochs)
    watching = None
    if watched is not None:
        views = TestingViews(watched, settings, _single_view(preprocessing))
        watching = testing_loader(views, recipe.training.batch_size, recipe.data)
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    left_out = [LeftOut(manifest, recipe.data.max_bad_share) for manifest in (training, watched) if manifest]
    facts = {"data": f"{training.folder.name}, {len(training.videos)} videos", "recipe": "recipe.yaml of the run",
             "seed": str(recipe.seed)}  # fmt: skip
    keep = SaveClassifier(classifier, out / "model", facts, best=watched is not None and watched.split == "val")
    callbacks: list[Callback] = [
        RunProgress(console),
        CountLeftOut(left_out[0], left_out[1] if watched else None, console),
        keep,
        ResumeOrder(loader.sampler),
        LearningRateMonitor("step"),
        *_checkpoints(out / "checkpoints", best=watched is not None),
    ]
    _quieten()
    trainer = Trainer(
        accelerator=ACCELERATORS[recipe.training.device],
        devices=1,
        precision=recipe.training.precision,
        max_epochs=recipe.training.epochs,
        accumulate_grad_batches=recipe.training.accumulate,
        gradient_clip_val=recipe.optimizer.clip_gradient,
        logger=[CSVLogger(out / "logs", "csv"), TensorBoardLogger(out / "logs", "tensorboard")],
        callbacks=callbacks,
        log_every_n_steps=min(10, len(loader)),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    try:
        trainer.fit(ClassificationTask(classifier, recipe), loader, watching, ckpt_path=checkpoint)
    except SystemExit:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from None
    problems = tuple(Problem(path, reason) for part in left_out for path, reason in part.reasons.items())
    return FitResult(out / "model", keep.epoch, keep.top1 if watched else None, problems)


def _single_view(preprocessing: Preprocessing) -> Preprocessing:
    """One centre crop of one clip: enough to watch a run."""
    return preprocessing.model_copy(update={"test_clips": 1, "test_crops": 1})


def _checkpoints(folder: Path, *, best: bool) -> list[ModelCheckpoint]:
    """last.ckpt after every epoch, and best.ckpt where there is a split to watch."""
    last = ModelCheckpoint(folder, "last", every_n_epochs=1, save_on_train_epoch_end=True, enable_version_counter=False)
    top = ModelCheckpoint(folder, "best", monitor="val_top1", mode="max", enable_version_counter=False)
    return [top, last] if best else [last]


def _quieten() -> None:
    """Lightning's hints about devices, tips and loaders: this package prints what its users need to know itself."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", ".*LeafSpec.*")  # Lightning's own, of a newer torch
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")  # where a run resumes
