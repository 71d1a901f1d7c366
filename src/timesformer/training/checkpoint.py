"""RUN/checkpoints/last.ckpt: all that an interrupted run needs to resume as if it had never stopped.

A checkpoint holds the weights, the optimiser, the schedule, the averaged weights, the gradient scaler, and how far the
run is: the epoch, the batch inside it and the sums that its metrics are computed from. Nothing else is needed, since
what is random depends on the seed, the epoch and the step alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from timesformer.errors import TrainingError, one_line
from timesformer.files import replacing
from timesformer.training.task import ClassificationTask


class AtomicFiles(TorchCheckpointIO):
    """Writes a checkpoint under another name, flushes it to the disk, then renames it over the previous one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises TrainingError where it cannot be written; the previous checkpoint stays."""
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, temporary.open("wb") as stream:
                torch.save(checkpoint, stream)
        except (OSError, RuntimeError) as error:  # torch's writer turns a full disk into a RuntimeError
            reason = one_line(error)[:200]
            kept = "the previous one is unharmed" if path.exists() else "there is no previous one"
            raise TrainingError(f"{path}: the checkpoint cannot be written: {reason}; {kept}") from error


class SaveCheckpoints(Checkpoint):
    """Keeps last.ckpt: after every epoch, and every `steps` optimiser steps inside one."""

    def __init__(self, file: Path, steps: int | None) -> None:
        self.file, self.steps = file, steps
        self.next = (0, 0)  # the epoch and the batch to resume with
        self.stepped = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        stepped, self.stepped = trainer.global_step > self.stepped, trainer.global_step
        last = batch_idx + 1 == trainer.num_training_batches
        if self.steps and stepped and not last and trainer.global_step % self.steps == 0:
            self._save(trainer, pl_module, trainer.current_epoch, batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer, pl_module, trainer.current_epoch + 1, 0)

    def _save(self, trainer: Trainer, pl_module: LightningModule, epoch: int, batch: int) -> None:
        assert isinstance(pl_module, ClassificationTask)
        pl_module.check_weights()
        for logger in trainer.loggers:
            logger.save()  # what the checkpoint takes as logged must not wait in memory when the run is killed
        self.next = (epoch, batch)
        trainer.save_checkpoint(self.file)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["place"] = self.next  # the name that checkpoints of version 0.1.0 have

    def state_dict(self) -> dict[str, Any]:
        return {"stepped": self.stepped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stepped = state_dict["stepped"]
