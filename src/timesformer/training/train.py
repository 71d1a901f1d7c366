"""Train a whole network with Lightning, as planned."""

from __future__ import annotations

import signal
from typing import Any

from lightning.pytorch import Callback
from rich.console import Console

from timesformer.data.dataset import TestingViews, TrainingClips
from timesformer.data.loader import ShuffledEpochs, testing_loader, training_loader
from timesformer.training.advice import WarnOfFloors
from timesformer.training.balance import video_weights
from timesformer.training.callbacks import (
    RecordSession,
    ReportMetrics,
    ReportSkipped,
    SaveClassifier,
    StopAtOnce,
    ValidateLastEpoch,
)
from timesformer.training.checkpoint import SaveCheckpoints
from timesformer.training.early_stopping import StopEarly
from timesformer.training.floors import Floor, facts_of
from timesformer.training.log import Log
from timesformer.training.plan import TrainingPlan, single_view
from timesformer.training.result import FitResult, problems_of
from timesformer.training.task import ClassificationTask
from timesformer.training.trainer import make_trainer
from timesformer.training.videos import validation_groups


def run_training(
    plan: TrainingPlan, floors: tuple[Floor, ...], session: dict[str, Any], log: Log, console: Console
) -> FitResult:
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
    skipped = plan.skipped_videos()
    split = validation.split if validation else None
    groups, grouped = validation_groups(validation, recipe.data.group, log) if validation else ([], False)
    keep = SaveClassifier(
        classifier, out / "model", plan.card_facts | facts_of(floors), split, groups, chooses=plan.chooses_epoch
    )
    callbacks: list[Callback] = [
        RecordSession(out, recipe, session),
        ReportMetrics(log, console, split),
        ReportSkipped(skipped[0], skipped[-1] if validation else None, log),
        keep,
        SaveCheckpoints(out / "checkpoints" / "last.ckpt", recipe.training.checkpoint_steps),
        StopAtOnce(),
    ]
    if validation is not None:
        callbacks += [ValidateLastEpoch(), WarnOfFloors(plan, floors, log)]
    stop = None
    if recipe.training.patience is not None:
        stop = StopEarly("val_map" if plan.training.multilabel else "val_top1", recipe.training.patience)
        callbacks.append(stop)
    trainer = make_trainer(plan, callbacks)
    changed = bool(point and point.changes)
    task = ClassificationTask(
        classifier,
        recipe,
        plan.training,
        plan.batch,
        plan.facts,
        split,
        changed=changed,
        trainable=plan.trainable,
        new=plan.initialised.new,
    )
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(task, loader, validation_loader, ckpt_path=point.checkpoint if point else None)
    except SystemExit:  # what Lightning makes of Ctrl-C, which it ignores from then on
        signal.signal(signal.SIGINT, interrupt)
        raise KeyboardInterrupt from None
    finally:
        for part in (loader, validation_loader):
            if part is not None:
                part.close()
    metric = "mAP" if plan.training.multilabel else "top-1"
    ended = trainer.current_epoch == recipe.training.epochs
    if stop is not None and not ended and (reason := stop.reason(metric)):
        log.say(f"stopped after epoch {trainer.current_epoch} of {recipe.training.epochs}: {reason}")
    return FitResult(
        out / "model",
        keep.epoch,
        keep.score,
        metric,
        split,
        problems_of(skipped),
        process.rank == 0,
        keep.metrics,
        keep.videos,
        floors,
        len(set(groups)) if grouped else None,
        keep.interval,
    )
