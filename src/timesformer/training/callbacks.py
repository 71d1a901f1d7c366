"""What a run does beside training: metrics, the count of unreadable videos, the finished classifier."""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console

from timesformer.baselines.architectures import build_model
from timesformer.config import Recipe
from timesformer.data.dataset import Batch, SkippedVideos
from timesformer.errors import VideoError
from timesformer.evaluation.interval import Interval, grouped_interval
from timesformer.evaluation.metrics import NAMES
from timesformer.model.adapters import merge_adapters
from timesformer.model.protocol import VideoModel
from timesformer.training.bar import counted, make_bar
from timesformer.training.curves import SPLITS, draw_curves
from timesformer.training.log import Log, write_session
from timesformer.training.task import ClassificationTask
from timesformer.weights.classifier import Classifier

LOG_EVERY = 10  # optimiser steps from one row of a batch's loss to the next; fewer where an epoch has fewer
DRAW_EVERY = 10.0  # seconds between drawings of the curves


class RecordSession(Callback):
    """Writes RUN/recipe.yaml and adds to RUN/sessions.yaml, when every process has read what was there before."""

    def __init__(self, folder: Path, recipe: Recipe, session: dict[str, Any]) -> None:
        self.folder, self.recipe, self.session = folder, recipe, session

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            write_session(self.folder, self.recipe, self.session)


class ReportMetrics(Callback):
    """One bar with the epoch's batches and the time left of the run, a line of metrics an epoch, and all of them to the
    loggers."""

    def __init__(self, log: Log, console: Console, split: str | None) -> None:
        """`split`: the one that is validated, if any."""
        self.lines, self.split = log, split
        self.progress = make_bar(console)
        self.epoch_start = 0.0
        self.drawn = 0.0
        self.stepped = 0

    @property
    def state_key(self) -> str:
        return "Figures"  # the name that checkpoints of version 0.1.0 have

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert trainer.max_epochs is not None
        batches = int(trainer.num_training_batches)
        done = batches * trainer.current_epoch + trainer.fit_loop.epoch_loop.batch_progress.current.ready
        self.task = self.progress.add_task("", total=batches * trainer.max_epochs, completed=done)
        self._describe(trainer, done - batches * trainer.current_epoch)
        self.progress.start()
        self.drawn = time.perf_counter()
        self.on_train_epoch_start(trainer, pl_module)  # which Lightning skips where a run resumes inside an epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch_start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ClassificationTask)
        self._describe(trainer, batch_idx + 1, f", loss {pl_module.last_loss:.3f}")
        self.progress.advance(self.task)
        stepped, self.stepped = trainer.global_step > self.stepped, trainer.global_step
        batches = int(trainer.num_training_batches)
        steps = math.ceil(batches / trainer.accumulate_grad_batches)
        if stepped and trainer.global_step % min(LOG_EVERY, steps) == 0:
            metrics = {"batch_loss": pl_module.last_loss, "learning_rate": pl_module.last_rate}
            self._log(trainer, trainer.current_epoch + (batch_idx + 1) / batches, metrics)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ClassificationTask)
        pl_module.end_epoch()
        metrics = pl_module.metrics
        self._log(trainer, trainer.current_epoch + 1.0, metrics)
        line = [f"epoch {trainer.current_epoch + 1:3}/{trainer.max_epochs}"]
        line += [f"loss {metrics['train_loss']:.3f}"] if "train_loss" in metrics else []
        line += _scores(metrics, "train")
        if self.split and (validated := _scores(metrics, self.split)):
            line.append(f"{SPLITS[self.split]} {' '.join(validated)}")
        line.append(f"{time.perf_counter() - self.epoch_start:.1f} s")
        self.lines.say("  ".join(line))
        if time.perf_counter() - self.drawn > DRAW_EVERY:
            self._draw(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        """The picture of all epochs so far; it takes a third of a second, which may be more than an epoch."""
        if trainer.is_global_zero:
            draw_curves(self.lines.folder / "logs" / "metrics.csv", self.lines.folder / "curves.png")
        self.drawn = time.perf_counter()

    def _describe(self, trainer: Trainer, batch: int, loss: str = "") -> None:
        """Say where in which epoch the run is; the bar and the time that is left are the whole run's."""
        assert trainer.max_epochs is not None
        epoch = counted(trainer.current_epoch + 1, trainer.max_epochs)
        batches = counted(batch, int(trainer.num_training_batches))
        self.progress.update(self.task, description=f"epoch {epoch}, batch {batches}{loss}")

    def _log(self, trainer: Trainer, epoch: float, metrics: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": round(epoch, 4)} | metrics, trainer.global_step)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.progress.stop()  # no teardown follows
        if isinstance(exception, KeyboardInterrupt):
            self._draw(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"stepped": self.stepped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stepped = state_dict["stepped"]


def _scores(metrics: dict[str, float], split: str) -> list[str]:
    return [f"{text} {metrics[f'{split}_{name}']:.3f}" for name, text in NAMES.items() if f"{split}_{name}" in metrics]


class ValidateLastEpoch(Callback):
    """The last epoch is validated, whatever `validate_every`: it is the one a run ends with."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1


class ReportSkipped(Callback):
    """Reports every video that cannot be read, once, and stops the run where they are too many."""

    def __init__(self, training: SkippedVideos, validation: SkippedVideos | None, log: Log) -> None:
        self.training, self.validation, self.lines = training, validation, log

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self._report(self.training, batch.problems)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        assert self.validation is not None
        self._report(self.validation, batch.problems)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._exchange(trainer, self.training)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.validation is not None
        self._exchange(trainer, self.validation)

    def _exchange(self, trainer: Trainer, skipped: SkippedVideos) -> None:
        """Count what other processes could not read: the first one reports for all."""
        if trainer.world_size > 1:
            found: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(found, skipped.reasons)
            reasons = {path: reason for part in found for path, reason in part.items()}
            self._report(skipped, [VideoError(*item) for item in reasons.items()])

    def _report(self, skipped: SkippedVideos, problems: list[VideoError]) -> None:
        for problem in skipped.add(problems):
            self.lines.say(f"skipped {problem}", style="yellow")


class StopAtOnce(Callback):
    """SIGTERM stops a run as Ctrl-C does. Lightning would wait for a batch, and tell the other processes from inside
    the handler, where each waits for all."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # Lightning puts back what was there


class SaveClassifier(Callback):
    """Keeps RUN/model: the weights of the best validation score, or of the last epoch where that does not choose.

    Of equal scores, which a few videos often have, the lower validation loss is the better one, then the later epoch.
    """

    def __init__(
        self,
        classifier: Classifier,
        folder: Path,
        facts: dict[str, str],
        split: str | None,
        groups: Sequence[Hashable],
        *,
        chooses: bool,
    ) -> None:
        """`groups`: of each video of the manifest that validates, for the interval of the score. `chooses`: whether the
        best score does, and not the last epoch."""
        self.chooses = chooses
        self.classifier, self.folder, self.facts, self.split, self.groups = classifier, folder, facts, split, groups
        self.interval: Interval | None = None
        self.score: float | None = None
        self.loss: float | None = None
        self.epoch = self.videos = 0
        self.metrics: dict[str, float] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ClassificationTask)
        name = "map" if pl_module.model.settings.multilabel else "top1"
        score, loss = (pl_module.metrics.get(f"{self.split}_{found}") for found in (name, "loss"))
        if self.chooses and not _is_better((score, loss), (self.score, self.loss)):
            return
        self.score, self.loss, self.epoch = score, loss, trainer.current_epoch + 1
        start = f"{self.split}_"
        self.metrics = {
            key.removeprefix(start): value for key, value in pl_module.metrics.items() if key.startswith(start)
        }
        self.videos = pl_module.scores.videos
        facts = self.facts | {"epoch": f"{self.epoch} of {trainer.max_epochs}"}
        if score is not None:
            facts[f"{NAMES[name]} on {self.split} while training, one crop"] = f"{score:.3f}"
            if name == "top1":
                scores = pl_module.scores
                of_videos = [self.groups[row] for row in scores.rows_B.tolist()]
                self.interval = low, high = grouped_interval(scores.right_B, of_videos)
                facts["95% interval"] = f"{low:.3f} to {high:.3f}, of {self.videos} videos"
        classifier = dataclasses.replace(self.classifier, model=_whole(pl_module), reread=None)
        if trainer.is_global_zero:
            classifier.save_pretrained(self.folder, facts=facts)

    def state_dict(self) -> dict[str, Any]:
        kept: dict[str, Any] = {name: getattr(self, name) for name in ("score", "loss", "epoch", "metrics", "videos")}
        return kept | {"interval": self.interval and list(self.interval)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.score, self.loss, self.epoch = (state_dict[name] for name in ("score", "loss", "epoch"))
        # Version 0.1.0 has no more than that.
        self.metrics, self.videos = state_dict.get("metrics", {}), state_dict.get("videos", 0)
        interval = state_dict.get("interval")
        self.interval = interval and Interval(*interval)


def _is_better(new: tuple[float | None, float | None], old: tuple[float | None, float | None]) -> bool:
    """Whether a later epoch's score and loss are not worse than the best; both are None for epochs not validated."""
    if new[0] is None or old[0] is None:
        return old[0] is None
    assert new[1] is not None
    assert old[1] is not None
    return (new[0], -new[1]) >= (old[0], -old[1])


def _whole(task: ClassificationTask) -> VideoModel:
    """The resulting network without adapters, put together from the parts of all processes where they share it."""
    if not task.sharded:
        return merge_adapters(task.result)
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    tensors = get_model_state_dict(task.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    with torch.random.fork_rng():
        whole = build_model(task.model.settings)
        if task.trainable is not None:
            task.trainable.apply(whole, seed=0)
    if tensors:  # on the first process alone
        whole.load_state_dict(tensors)
    return merge_adapters(whole)
