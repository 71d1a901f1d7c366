"""What Lightning's Trainer trains: clips in, loss out, and the metrics of a validation pass."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor

from timesformer.config import Recipe
from timesformer.data.dataset import Batch
from timesformer.evaluation.metrics import measure
from timesformer.evaluation.scores import score_views
from timesformer.training.optim import make_optimizer, make_schedule
from timesformer.video.transforms import normalise
from timesformer.weights import Classifier


class ClassificationTask(LightningModule):
    """Cross-entropy on training clips; top-1 and top-5 of validation videos."""

    def __init__(self, classifier: Classifier, recipe: Recipe) -> None:
        super().__init__()
        self.model = classifier.model
        self.preprocessing = classifier.preprocessing
        self.recipe = recipe
        self.seen: list[tuple[Tensor, Tensor]] = []

    def on_train_epoch_start(self) -> None:
        """What dropout draws depends on the seed and the epoch alone, so a resumed epoch repeats it."""
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.current_epoch)

    def training_step(self, batch: Batch, number: int) -> Tensor | None:
        if not len(batch.labels_B):
            return None
        logits_BK = self.model(normalise(batch.views_VCTSS, self.preprocessing))
        loss = F.cross_entropy(logits_BK, batch.labels_B, label_smoothing=self.recipe.training.label_smoothing)
        videos = len(batch.labels_B)
        top1 = (logits_BK.argmax(1) == batch.labels_B).float().mean()
        self.log("train_loss", loss, on_step=True, on_epoch=True, batch_size=videos)
        self.log("train_top1", top1, on_step=False, on_epoch=True, batch_size=videos)
        return loss

    def validation_step(self, batch: Batch, number: int) -> None:
        if len(batch.labels_B):
            scores_BK = score_views(self.model, self.preprocessing, batch.views_VCTSS, batch.counts_B)
            self.seen.append((scores_BK, batch.labels_B.cpu()))

    def on_validation_epoch_end(self) -> None:
        scores_BK, labels_B = (torch.cat(parts) for parts in zip(*self.seen, strict=True))
        self.seen.clear()
        metrics = measure(scores_BK, labels_B)
        loss = F.nll_loss(scores_BK.clamp_min(1e-12).log(), labels_B)
        self.log_dict({"val_loss": loss, "val_top1": metrics.top1, "val_top5": metrics.top5})

    def configure_optimizers(self) -> Any:
        optimizer = make_optimizer(self.model, self.recipe.optimizer)
        epochs = self.recipe.training.epochs
        steps = float(self.trainer.estimated_stepping_batches) / epochs
        schedule = make_schedule(optimizer, self.recipe.optimizer, steps, epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
