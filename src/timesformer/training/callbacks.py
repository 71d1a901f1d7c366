"""What a run does beside training: metrics, the count of unreadable videos, the finished classifier."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from timesformer.config import Recipe
from timesformer.data.dataset import Batch, SkippedVideos
from timesformer.errors import VideoError
from timesformer.model.architectures import build_model
from timesformer.model.protocol import VideoModel
from timesformer.training.curves import draw_curves
from timesformer.training.log import Log, write_session
from timesformer.training.task import ClassificationTask
from timesformer.weights.classifier import Classifier

LOG_EVERY = 10
SHOWN = {"train_loss": "loss", "train_top1": "top-1", "val_top1": "top-1", "val_top5": "top-5", "val_map": "mAP"}


class RecordSession(Callback):
    """Writes RUN/recipe.yaml and adds to RUN/sessions.yaml, when every process has read what was there before."""

    def __init__(self, folder: Path, recipe: Recipe, session: dict[str, Any]) -> None:
        self.folder, self.recipe, self.session = folder, recipe, session

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            write_session(self.folder, self.recipe, self.session)


class ReportMetrics(Callback):
    """One bar for the whole run with the time left, a line of metrics an epoch, and all of them to the loggers."""

    def __init__(self, log: Log, console: Console, validation: str) -> None:
        """`validation`: what the validation split is called in a line."""
        self.lines, self.validation = log, validation
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("batches, loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,  # elsewhere a bar that is erased would leave an empty line
        )
        self.epoch_start = 0.0
        self.stepped = 0

    @property
    def state_key(self) -> str:
        return "Figures"  # the name that checkpoints of version 0.1.0 have

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert trainer.max_epochs is not None
        batches = int(trainer.num_training_batches)
        done = batches * trainer.current_epoch + trainer.fit_loop.epoch_loop.batch_progress.current.ready
        self.task = self.progress.add_task("", total=batches * trainer.max_epochs, epoch="", loss="-")
        self.progress.update(self.task, completed=done)
        self.progress.start()
        self.on_train_epoch_start(trainer, pl_module)  # which Lightning skips where a run resumes inside an epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch_start = time.perf_counter()
        self.progress.update(self.task, epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ClassificationTask)
        self.progress.update(self.task, advance=1, loss=f"{pl_module.last_loss:.3f}")
        stepped, self.stepped = trainer.global_step > self.stepped, trainer.global_step
        if stepped and trainer.global_step % min(LOG_EVERY, int(trainer.num_training_batches)) == 0:
            metrics = {"batch_loss": pl_module.last_loss, "learning_rate": pl_module.last_rate}
            self._log(trainer, trainer.current_epoch + (batch_idx + 1) / int(trainer.num_training_batches), metrics)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ClassificationTask)
        pl_module.end_epoch()
        metrics = pl_module.metrics
        self._log(trainer, trainer.current_epoch + 1.0, metrics)
        line = [f"epoch {trainer.current_epoch + 1:3}/{trainer.max_epochs}"]
        line += [f"{SHOWN[name]} {metrics[name]:.3f}" for name in ("train_loss", "train_top1") if name in metrics]
        validated = [
            f"{SHOWN[name]} {value:.3f}" for name, value in metrics.items() if name.startswith("val_") and name in SHOWN
        ]
        if validated:
            line.append(f"{self.validation} {' '.join(validated)}")
        line.append(f"{time.perf_counter() - self.epoch_start:.1f} s")
        self.lines.say("   ".join(line))
        if trainer.is_global_zero:
            draw_curves(self.lines.folder / "logs" / "metrics.csv", self.lines.folder / "curves.png")

    def _log(self, trainer: Trainer, epoch: float, metrics: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": round(epoch, 4)} | metrics, trainer.global_step)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.progress.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.progress.stop()  # no teardown follows

    def state_dict(self) -> dict[str, Any]:
        return {"stepped": self.stepped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stepped = state_dict["stepped"]


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


class SaveClassifier(Callback):
    """Keeps RUN/model: the weights of the best validation score, or of the last epoch where `best` is off.

    Of equal scores, which a few videos often have, the lower validation loss is the better one, then the later epoch.
    """

    def __init__(self, classifier: Classifier, folder: Path, facts: dict[str, str], *, best: bool) -> None:
        self.classifier, self.folder, self.facts, self.best = classifier, folder, facts, best
        self.score: float | None = None
        self.loss: float | None = None
        self.epoch = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ClassificationTask)
        name = "val_map" if pl_module.model.settings.multilabel else "val_top1"
        score, loss = pl_module.metrics.get(name), pl_module.metrics.get("val_loss")
        if self.best and not _is_better((score, loss), (self.score, self.loss)):
            return
        self.score, self.loss, self.epoch = score, loss, trainer.current_epoch + 1
        facts = self.facts | {"epoch": f"{self.epoch} of {trainer.max_epochs}"}
        if score is not None:
            facts[f"{SHOWN[name]} while training, one crop"] = f"{score:.3f}"
        classifier = dataclasses.replace(self.classifier, model=_whole(pl_module), reread=None)
        if trainer.is_global_zero:
            classifier.save_pretrained(self.folder, facts=facts)

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "loss": self.loss, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.score, self.loss, self.epoch = (state_dict[name] for name in ("score", "loss", "epoch"))


def _is_better(new: tuple[float | None, float | None], old: tuple[float | None, float | None]) -> bool:
    """Whether a later epoch's score and loss are not worse than the best; both are None for epochs not validated."""
    if new[0] is None or old[0] is None:
        return old[0] is None
    assert new[1] is not None
    assert old[1] is not None
    return (new[0], -new[1]) >= (old[0], -old[1])


def _whole(task: ClassificationTask) -> VideoModel:
    """The resulting network, put together from the parts of all processes where they share it."""
    if not task.sharded:
        return task.result
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    tensors = get_model_state_dict(task.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    with torch.random.fork_rng():
        whole = build_model(task.model.settings)
    if tensors:  # on the first process alone
        whole.load_state_dict(tensors)
    return whole
