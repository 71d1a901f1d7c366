"""Train a whole network with Lightning, as planned."""

from __future__ import annotations

import signal
from typing import Any

from lightning.pytorch import Callback
from rich.console import Console

from timesformer.data.dataset import SkippedVideos, TestingViews, TrainingClips
from timesformer.data.loader import ShuffledEpochs, testing_loader, training_loader
from timesformer.training.balance import video_weights
from timesformer.training.callbacks import (
    RecordSession,
    ReportMetrics,
    ReportSkipped,
    SaveClassifier,
    ValidateLastEpoch,
)
from timesformer.training.checkpoint import SaveCheckpoints
from timesformer.training.log import Log
from timesformer.training.plan import TrainingPlan, single_view
from timesformer.training.result import FitResult, problems_of
from timesformer.training.task import ClassificationTask
from timesformer.training.trainer import make_trainer


def run_training(plan: TrainingPlan, session: dict[str, Any], log: Log, console: Console) -> FitResult:
    """Train, validate, and keep RUN/model and RUN/checkpoints."""
    recipe, out, process, point = plan.recipe, plan.out, plan.launch.process, plan.resume_point
    classifier, validation = plan.initialised.classifier, plan.validation
    shape, preprocessing = classifier.model.clip_shape, classifier.preprocessing
    clips = TrainingClips(plan.training, shape, preprocessing, recipe.augmentation, recipe.seed)
    weights = video_weights(plan.training) if recipe.training.balance == "sampling" else None
    loader = training_loader(clips, recipe.training.batch_size, recipe.data, process, weights)
    if point is not None:  # before Lightning asks for batches, which with FSDP it does before it loads anything
        assert isinstance(loader.sampler, ShuffledEpochs)
        loader.sampler.go_to(point.epoch, point.batch)
    validation_loader = None
    if validation is not None:
        views = TestingViews(validation, shape, single_view(preprocessing))
        validation_loader = testing_loader(views, recipe.training.batch_size, recipe.data, process)
    skipped = [
        SkippedVideos(manifest, recipe.data.max_bad_fraction) for manifest in (plan.training, validation) if manifest
    ]
    split = validation.split if validation else None
    keep = SaveClassifier(classifier, out / "model", plan.card_facts, best=split == "val")
    callbacks: list[Callback] = [
        RecordSession(out, recipe, session),
        ReportMetrics(log, console, "test split" if split == "test" else "validation"),
        ReportSkipped(skipped[0], skipped[1] if validation else None, log),
        keep,
        SaveCheckpoints(out / "checkpoints" / "last.ckpt", recipe.training.checkpoint_steps),
    ]
    if validation is not None:
        callbacks.append(ValidateLastEpoch())
    trainer = make_trainer(plan, callbacks)
    changed = bool(point and point.changes)
    task = ClassificationTask(classifier, recipe, plan.training, plan.batch, plan.facts, changed=changed)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(task, loader, validation_loader, ckpt_path=point.checkpoint if point else None)
    except SystemExit:  # what Lightning makes of Ctrl-C, which it ignores from then on
        signal.signal(signal.SIGINT, interrupt)
        raise KeyboardInterrupt from None
    metric = "mAP" if plan.training.multilabel else "top-1"
    return FitResult(out / "model", keep.epoch, keep.score, metric, split, problems_of(skipped), process.rank == 0)
