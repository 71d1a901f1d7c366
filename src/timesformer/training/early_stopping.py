"""The end of a run whose validation score no longer rises."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping


class StopEarly(EarlyStopping):
    """Stops after `patience` validations without a better score on `val`: top-1, or mAP of several classes a video.

    A run that resumes goes by the patience that its recipe has now, and one that had stopped does not go on.
    """

    def __init__(self, metric: str, patience: int) -> None:
        """`metric`: as the task names it, such as val_top1."""
        super().__init__(metric, patience=patience, mode="max", check_finite=False, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.should_stop = self.wait_count >= self.patience

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict | {"patience": self.patience})

    def reason(self, metric: str) -> str | None:
        """Why the run was stopped; None where it was not."""
        if self.wait_count < self.patience:
            return None
        many = "1 validation" if self.wait_count == 1 else f"{self.wait_count} validations"
        return f"no better {metric} on val than {float(self.best_score):.3f} in {many} (training.patience)"
