"""What Lightning's Trainer trains: clips in, loss out.

Dimensions: B clips or videos, K classes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from timesformer.config import Recipe
from timesformer.data.dataset import Batch
from timesformer.data.manifest import Manifest
from timesformer.errors import TrainingError
from timesformer.evaluation.scores import VIEWS_AT_ONCE, plain_network, score_batches
from timesformer.model.protocol import VideoModel
from timesformer.training.averaging import AveragedModel
from timesformer.training.balance import class_weights
from timesformer.training.epoch_metrics import TrainingSums, ValidationScores
from timesformer.training.losses import ClipLosses
from timesformer.training.mixing import mix
from timesformer.training.optim import make_optimizer, make_schedule
from timesformer.training.trainable import Trainable
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import Classifier


class ClassificationTask(LightningModule):
    """Cross-entropy on training clips, top-1 and top-5 of validated videos; binary cross-entropy and mean average
    precision where a video may have several classes.

    Attributes:
        metrics: of the epoch so far: train_loss and train_top1, and val_* or test_* after its validation.
        last_loss: loss of the last training batch.
        last_rate: the learning rate of the last optimiser step, the largest of all parameters'.
    """

    def __init__(
        self,
        classifier: Classifier,
        recipe: Recipe,
        training: Manifest,
        batch: int,
        facts: dict[str, Any],
        split: str | None = None,
        *,
        changed: bool = False,
        trainable: Trainable | None = None,
        new: frozenset[str] = frozenset(),
    ) -> None:
        """`batch`: clips of an optimiser step of all processes. `facts`: what a resumed run must find as it was.
        `split`: the one that is validated, if any. `changed`: whether the recipe has changed since the checkpoint that
        the run resumes from. `trainable`: what is trained; None for all. `new`: names of the parameters that the
        initial weights lack."""
        super().__init__()
        self.facts, self.split, self.changed = facts, split, changed
        self.model = classifier.model
        self.model.set_activation_checkpointing(recipe.training.checkpoint_activations)
        self.trainable, self.new = trainable, new
        if trainable is not None:
            trainable.apply(self.model, recipe.seed)
        self.preprocessing = classifier.preprocessing
        self.recipe, self.training_videos, self.batch = recipe, training.videos, batch
        self.averaged = None if recipe.training.ema is None else AveragedModel(self.model, recipe.training.ema)
        weights_K = class_weights(training) if recipe.training.balance == "loss" else None
        multilabel = self.model.settings.multilabel
        self.losses = ClipLosses(weights_K, recipe.training.label_smoothing, multilabel=multilabel)
        # In a list, so that the compiled copy's parameters are not saved twice.
        self.networks = [torch.compile(self.model) if recipe.training.compile else self.model]
        self.sharded = False
        self.scores = ValidationScores()
        self.metrics: dict[str, float] = {}
        self.last_loss = self.last_rate = float("nan")
        self.sums = TrainingSums()

    @property
    def result(self) -> VideoModel:
        """The network a run ends with: the averaged weights, where there are any."""
        return self.model if self.averaged is None else self.averaged.module

    def configure_model(self) -> None:
        """Called by Lightning when the processes know each other: with FSDP, each keeps a part of every block."""
        if self.recipe.training.strategy == "fsdp" and self.device_mesh is not None and not self.sharded:
            from torch.distributed.fsdp import fully_shard

            mesh = self.device_mesh["data_parallel"]
            for module in (*self.model.blocks(), self.model):
                fully_shard(module, mesh=mesh)
            self.sharded = True

    def on_train_start(self) -> None:
        """A resumed run whose settings have changed takes the new ones at the same point of the schedule."""
        if not self.changed:
            return
        optimizer, scheduler = self.trainer.optimizers[0], self.trainer.lr_scheduler_configs[0].scheduler
        fresh = self._optimizer()
        schedule = self._schedule(fresh)
        epochs = self.trainer.current_epoch + self.sums.batches / int(self.trainer.num_training_batches)
        for _ in range(round(epochs * self._steps_an_epoch())):
            fresh.step()
            schedule.step()
        for group, new in zip(optimizer.param_groups, fresh.param_groups, strict=True):
            group.update({name: value for name, value in new.items() if name != "params"})
        scheduler.load_state_dict(schedule.state_dict())

    def on_train_epoch_start(self) -> None:
        self.metrics = {}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """What a step draws at random depends on the seed, the process and the step alone: a resumed run repeats it."""
        step = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        torch.manual_seed((self.recipe.seed * 1_000_003 + step) * 1009 + self.global_rank)

    def training_step(self, batch: Batch, number: int) -> Tensor:
        clips = len(batch.views_VCTSS)
        self.sums.batches += 1
        if clips:
            loss = self._loss(batch) * self._weight(clips)
        else:  # no readable video: a step all the same, so that no process waits for this one
            loss = self.networks[0](self._black_clip()).float().sum() * self._weight(0)
        self.last_loss = float(loss.detach())  # the only wait for the device in a batch
        if not math.isfinite(self.last_loss):
            self._stop(batch, number)
        return loss * self._full_step(number)

    def _full_step(self, number: int) -> float:
        """What makes the mean of an epoch's last batches whole: Lightning divides it by `accumulate` however few."""
        accumulate, batches = self.recipe.training.accumulate, int(self.trainer.num_training_batches)
        return accumulate / min(accumulate, batches - number // accumulate * accumulate)

    def _loss(self, batch: Batch) -> Tensor:
        """Mean loss of a batch's clips."""
        clips = len(batch.views_VCTSS)
        labels_B = batch.labels_B.repeat_interleave(batch.counts_B, dim=0, output_size=clips)
        clips_BCTHW = normalise(batch.views_VCTSS, self.preprocessing)
        if self.model.settings.multilabel:
            targets_BK = labels_B
        else:
            targets_BK = F.one_hot(labels_B, self.model.settings.num_classes).to(clips_BCTHW.dtype)
        clips_BCTHW, targets_BK = mix(clips_BCTHW, targets_BK, self.recipe.augmentation)
        logits_BK = self.networks[0](clips_BCTHW).float()
        loss_B: Tensor = self.losses(logits_BK, targets_BK)
        self.sums.add(loss_B, logits_BK.argmax(1) == targets_BK.argmax(1))
        return loss_B.mean()

    def _black_clip(self) -> Tensor:
        frames, side = self.model.clip_shape
        return torch.zeros(1, 3, frames, side, side, device=self.device)

    def _weight(self, clips: int) -> Tensor | float:
        """What to multiply this process's mean loss with, so that the mean over processes is the mean over clips."""
        world = self.trainer.world_size
        if world == 1:
            return float(clips > 0)
        total: Tensor = self.trainer.strategy.reduce(torch.tensor(float(clips), device=self.device), reduce_op="sum")
        return clips * world / total.clamp_min(1)

    def _sum_over_processes(self, values: list[float]) -> list[float]:
        if self.trainer.world_size == 1:
            return values
        totals: list[float] = self.trainer.strategy.reduce(
            torch.tensor(values, device=self.device), reduce_op="sum"
        ).tolist()
        return totals

    def _of_all_processes(self, value: Any) -> list[Any]:
        """The values that all processes have, by their rank."""
        gathered: list[Any] = [value]
        if self.trainer.world_size > 1:
            gathered *= self.trainer.world_size
            torch.distributed.all_gather_object(gathered, value)
        return gathered

    def _stop(self, batch: Batch, number: int) -> None:
        files = [str(self.training_videos[row].path) for row in batch.rows_B.tolist()]
        raise TrainingError(
            f"the loss is {self.last_loss} in epoch {self.current_epoch + 1}, batch {number + 1} (step "
            f"{self.trainer.global_step}), of the videos {', '.join(files)}"
        )

    def check_weights(self) -> None:
        """Raises TrainingError where a weight is NaN or inf, so that no checkpoint and no classifier holds it."""
        weights = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in self.model.parameters()]
        if not torch.stack([weight.isfinite().all() for weight in weights]).all():
            raise TrainingError(
                f"weights are NaN or inf after step {self.trainer.global_step}, in epoch {self.current_epoch + 1}"
            )

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Lightning refuses to clip for fused steps in any mixed precision; only 16-mixed has gradients to unscale."""
        if self.recipe.training.precision == "16-mixed":
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        self.last_rate = max(float(group["lr"]) for group in self.trainer.optimizers[0].param_groups)
        super().optimizer_step(*args, **kwargs)
        # Lightning would keep the gradients until after the next forward pass, where memory is needed most.
        self.trainer.optimizers[0].zero_grad()
        if self.averaged is not None:
            self.averaged.update(self.model)

    def on_validation_start(self) -> None:
        self.check_weights()

    def validation_step(self, batch: Batch, number: int) -> None:
        if self.sharded:
            self._keep_in_step(len(batch.views_VCTSS))
        if len(batch.labels_B):
            network = plain_network(self.result, self.preprocessing)
            multilabel = self.model.settings.multilabel
            ((_, scores_BK),) = score_batches(network, [batch], multilabel=multilabel)
            self.scores.add(scores_BK, batch.labels_B, batch.rows_B)

    def _keep_in_step(self, views: int) -> None:
        """Pass the network as often as the process with the most views: each pass needs the weights of all."""
        passes = -(-views // VIEWS_AT_ONCE)
        most = self.trainer.strategy.reduce(torch.tensor(passes, device=self.device), reduce_op="max")
        with torch.inference_mode():
            for _ in range(int(most) - passes):
                self.model(self._black_clip())

    def on_validation_epoch_end(self) -> None:
        assert self.split is not None
        multilabel = self.model.settings.multilabel
        found = self.scores.measure(self._of_all_processes, self.split, multilabel=multilabel)
        self.metrics |= found
        if self.recipe.training.patience is not None:
            self.log_dict(found, logger=False)  # where Lightning's early stopping looks

    def end_epoch(self) -> None:
        """Add the training metrics of the epoch. Called by the callback that reports them: Lightning calls callbacks
        before a module's own hook."""
        self.check_weights()
        loss, right, clips, _ = self._sum_over_processes(self.sums.values())
        self.sums = TrainingSums()
        if clips:
            self.metrics |= {"train_loss": loss / clips}
        if clips and not self.model.settings.multilabel:
            self.metrics |= {"train_top1": right / clips}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called on every process: each has sums of its own, all of which the first one saves."""
        sums = self._of_all_processes(self.sums.values())
        checkpoint |= {"sums": sums, "facts": self.facts, "recipe": self.recipe.model_dump(mode="json")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.global_rank < len(checkpoint["sums"]):  # else between epochs, where they are zero
            self.sums = TrainingSums(checkpoint["sums"][self.global_rank])
        if self.changed:  # a schedule of other parts could not be loaded; `on_train_start` makes the new one
            checkpoint["lr_schedulers"] = []

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer()
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._schedule(optimizer), "interval": "step"}}

    def _optimizer(self) -> Optimizer:
        recipe = self.recipe
        # Fused steps preclude Lightning's clipping of scaled gradients, and torch has none of SGD for sharded weights.
        sharded_sgd = recipe.training.strategy == "fsdp" and recipe.optimizer.name == "sgd"
        fused = recipe.training.precision != "16-mixed" and not sharded_sgd
        return make_optimizer(self.model, recipe.optimizer, self.batch, new=self.new, fused=fused)

    def _schedule(self, optimizer: Optimizer) -> LRScheduler:
        epochs = self.recipe.training.epochs
        return make_schedule(optimizer, self.recipe.optimizer, self._steps_an_epoch(), epochs)

    def _steps_an_epoch(self) -> float:
        return float(self.trainer.estimated_stepping_batches) / self.recipe.training.epochs
