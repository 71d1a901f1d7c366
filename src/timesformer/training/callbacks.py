"""What a run does beside training: progress for people, count of unreadable videos, the finished classifier."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from timesformer.data.dataset import Batch, LeftOut
from timesformer.data.loader import ShuffledEpochs
from timesformer.weights import Classifier
from timesformer.weights.native import save_native


class RunProgress(Callback):
    """One bar for the whole run with the time left, and a line of figures an epoch."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("batches, loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("gone,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
        )
        self.began = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert trainer.max_epochs is not None
        batches = int(trainer.num_training_batches)
        self.task = self.progress.add_task("", total=batches * trainer.max_epochs, epoch="", loss="-")
        self.progress.update(self.task, completed=batches * trainer.current_epoch)
        self.progress.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.began = time.perf_counter()
        self.progress.update(self.task, epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        loss = trainer.callback_metrics.get("train_loss_step")
        self.progress.update(self.task, advance=1, loss="-" if loss is None else f"{loss:.3f}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        line = [f"epoch {trainer.current_epoch + 1:3}/{trainer.max_epochs}"]
        for name, key in (("loss", "train_loss_epoch"), ("top-1", "train_top1")):
            line.append(f"{name} {figures[key]:.3f}" if key in figures else f"{name} -")
        if "val_top1" in figures:
            line.append(f"validation top-1 {figures['val_top1']:.3f} top-5 {figures['val_top5']:.3f}")
        line.append(f"{time.perf_counter() - self.began:.1f} s")
        self.console.print("   ".join(line), highlight=False, soft_wrap=True)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.progress.stop()


class CountLeftOut(Callback):
    """Reports every video that cannot be read, once, and stops the run where they are too many."""

    def __init__(self, training: LeftOut, validation: LeftOut | None, console: Console) -> None:
        self.training, self.validation, self.console = training, validation, console

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self._report(self.training, batch)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        assert self.validation is not None
        self._report(self.validation, batch)

    def _report(self, left_out: LeftOut, batch: Batch) -> None:
        for problem in left_out.add(batch.problems):
            self.console.print(
                f"left out: {problem.reason}", style="yellow", markup=False, highlight=False, soft_wrap=True
            )


class ResumeOrder(Callback):
    """Tells the sampler which epoch a resumed run begins with.

    Lightning tells it too, but only after worker processes have been asked for their first batches.
    """

    def __init__(self, sampler: ShuffledEpochs) -> None:
        self.sampler = sampler

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.sampler.set_epoch(checkpoint["epoch"] + 1)


class SaveClassifier(Callback):
    """Keeps RUN/model: the weights of the best validation top-1, or of the last epoch where `best` is off."""

    def __init__(self, classifier: Classifier, folder: Path, facts: dict[str, str], *, best: bool) -> None:
        self.classifier, self.folder, self.facts, self.best = classifier, folder, facts, best
        self.top1 = -1.0
        self.epoch = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        top1 = float(trainer.callback_metrics.get("val_top1", 0))
        if not self.best or top1 > self.top1:
            self.top1, self.epoch = top1, trainer.current_epoch + 1
            facts = self.facts | {"epoch": f"{self.epoch} of {trainer.max_epochs}"}
            if "val_top1" in trainer.callback_metrics:
                facts["top-1 while training, one crop"] = f"{top1:.3f}"
            save_native(self.classifier, self.folder, facts)

    def state_dict(self) -> dict[str, Any]:
        return {"top1": self.top1, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.top1, self.epoch = state_dict["top1"], state_dict["epoch"]
