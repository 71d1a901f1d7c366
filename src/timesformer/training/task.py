"""What Lightning's Trainer trains: clips in, loss out, and the figures of an epoch.

Dimensions: B clips or videos, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from timesformer.config import Recipe
from timesformer.data.dataset import Batch
from timesformer.data.manifest import Manifest
from timesformer.errors import TrainingError
from timesformer.evaluation.metrics import measure, measure_multilabel
from timesformer.evaluation.scores import VIEWS_AT_ONCE, plain_network, score_batches
from timesformer.model.timesformer import TimeSformer
from timesformer.training.balance import class_weights
from timesformer.training.mixing import mix
from timesformer.training.optim import make_optimizer, make_schedule
from timesformer.video.transforms import normalise
from timesformer.weights import Classifier


class ClassificationTask(LightningModule):
    """Cross-entropy on training clips, top-1 and top-5 of validation videos; binary cross-entropy and mean average
    precision where a video may have several classes.

    Attributes:
        figures: of the epoch so far: train_loss and train_top1, and val_* after its validation pass.
        last_loss: of the last training batch.
        last_rate: the learning rate of the last optimiser step, the largest of all parameters'.
    """

    weights_K: Tensor | None

    def __init__(
        self,
        classifier: Classifier,
        recipe: Recipe,
        training: Manifest,
        batch: int,
        facts: dict[str, Any],
        *,
        changed: bool = False,
    ) -> None:
        """`batch`: clips of an optimiser step of all processes. `facts`: what a resumed run must find as it was.
        `changed`: whether the recipe has changed since the checkpoint that the run resumes from."""
        super().__init__()
        self.facts, self.changed = facts, changed
        self.model = classifier.model
        self.model.checkpoint_activations = recipe.training.checkpoint_activations
        self.preprocessing = classifier.preprocessing
        self.recipe, self.training_videos, self.batch = recipe, training.videos, batch
        self.averaged = None if recipe.training.ema is None else average(self.model, recipe.training.ema)
        weights_K = class_weights(training) if recipe.training.balance == "loss" else None
        self.register_buffer("weights_K", weights_K, persistent=False)
        # In a list, so that the compiled copy's parameters are not saved twice.
        self.networks = [torch.compile(self.model) if recipe.training.compile else self.model]
        self.sharded = False
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []
        self.figures: dict[str, float] = {}
        self.last_loss = self.last_rate = float("nan")
        self.sums = [0.0, 0.0, 0.0, 0.0]  # loss, right answers, clips and batches of the epoch so far

    @property
    def result(self) -> TimeSformer:
        """The network a run ends with: the averaged weights, where there are any."""
        model = self.model if self.averaged is None else self.averaged.module
        assert isinstance(model, TimeSformer)
        return model

    def configure_model(self) -> None:
        """Called by Lightning when the processes know each other: with FSDP, each keeps a part of every block."""
        if self.recipe.training.strategy == "fsdp" and self.device_mesh is not None and not self.sharded:
            from torch.distributed.fsdp import fully_shard

            mesh = self.device_mesh["data_parallel"]
            for module in (*self.model.blocks, self.model):
                fully_shard(module, mesh=mesh)
            self.sharded = True

    def on_train_start(self) -> None:
        """A resumed run whose settings have changed takes the new ones at the same place of the schedule."""
        if not self.changed:
            return
        optimizer, scheduler = self.trainer.optimizers[0], self.trainer.lr_scheduler_configs[0].scheduler
        fresh = make_optimizer(self.model, self.recipe.optimizer, self.batch)
        schedule = self._schedule(fresh)
        place = self.trainer.current_epoch + self.sums[3] / int(self.trainer.num_training_batches)
        for _ in range(round(place * self._steps_an_epoch())):
            fresh.step()
            schedule.step()
        for group, new in zip(optimizer.param_groups, fresh.param_groups, strict=True):
            group.update(
                {name: new[name] for name in ("lr", "initial_lr", "weight_decay", "betas", "momentum") if name in new}
            )
        scheduler.load_state_dict(schedule.state_dict())

    def on_train_epoch_start(self) -> None:
        self.figures = {}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """What a step draws at random depends on the seed, the process and the step alone: a resumed run repeats it."""
        step = self.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        torch.manual_seed((self.recipe.seed * 1_000_003 + step) * 1009 + self.global_rank)

    def training_step(self, batch: Batch, number: int) -> Tensor:
        labels_B = batch.labels_B.repeat_interleave(batch.counts_B, dim=0)
        clips = len(labels_B)
        self.sums[3] += 1
        if clips:
            loss = self._loss(batch, labels_B) * self._share(clips)
        else:  # no readable video: a step all the same, so that no process waits for this one
            loss = self.networks[0](self._black_clip()).float().sum() * self._share(0)
        self.last_loss = float(loss.detach())
        if not torch.isfinite(loss):
            self._stop(batch, number)
        return loss * self._full_step(number)

    def _full_step(self, number: int) -> float:
        """What makes the mean of an epoch's last batches whole: Lightning divides it by `accumulate` however few."""
        accumulate, batches = self.recipe.training.accumulate, int(self.trainer.num_training_batches)
        return accumulate / min(accumulate, batches - number // accumulate * accumulate)

    def _loss(self, batch: Batch, labels_B: Tensor) -> Tensor:
        """Mean loss of a batch's clips."""
        training = self.recipe.training
        classes = self.model.settings.num_classes
        clips_BCTHW = normalise(batch.views_VCTSS, self.preprocessing)
        multilabel = self.model.settings.multilabel
        targets_BK = labels_B if multilabel else F.one_hot(labels_B, classes).to(clips_BCTHW.dtype)
        clips_BCTHW, targets_BK = mix(clips_BCTHW, targets_BK, self.recipe.augmentation)
        logits_BK = self.networks[0](clips_BCTHW).float()
        if multilabel:
            loss_B = F.binary_cross_entropy_with_logits(
                logits_BK, targets_BK, reduction="none", pos_weight=self.weights_K
            ).mean(1)
        else:
            loss_B = F.cross_entropy(logits_BK, targets_BK, reduction="none", label_smoothing=training.label_smoothing)
            if self.weights_K is not None:
                loss_B = loss_B * (targets_BK @ self.weights_K)
        self.sums[0] += float(loss_B.detach().sum())
        self.sums[1] += float((logits_BK.argmax(1) == targets_BK.argmax(1)).sum())
        self.sums[2] += len(loss_B)
        return loss_B.mean()

    def _black_clip(self) -> Tensor:
        settings = self.model.settings
        return torch.zeros(1, 3, settings.num_frames, settings.image_size, settings.image_size, device=self.device)

    def _share(self, clips: int) -> float:
        """What to multiply this process's mean loss with, so that the mean over processes is the mean over clips."""
        world = self.trainer.world_size
        if world == 1:
            return float(clips > 0)
        total = self._sum_over_processes([float(clips)])[0]
        return clips * world / max(total, 1.0)

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
            f"{self.trainer.global_step}); its videos: {', '.join(files)}"
        )

    def check_weights(self) -> None:
        """Raises TrainingError where a weight is no number, so that no checkpoint and no classifier holds it."""
        weights = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in self.model.parameters()]
        if not torch.stack([weight.isfinite().all() for weight in weights]).all():
            raise TrainingError(
                f"the weights are no numbers any more after step {self.trainer.global_step} in epoch "
                f"{self.current_epoch + 1}"
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
            self.averaged.update_parameters(self.model)

    def on_validation_start(self) -> None:
        self.check_weights()

    def validation_step(self, batch: Batch, number: int) -> None:
        if self.sharded:
            self._keep_in_step(len(batch.views_VCTSS))
        if len(batch.labels_B):
            model = self.model if self.averaged is None else self.result
            network = plain_network(model, self.preprocessing)
            ((_, scores_BK),) = score_batches(network, [batch], multilabel=model.settings.multilabel)
            self.seen.append((scores_BK, batch.labels_B.cpu(), batch.rows_B.cpu()))

    def _keep_in_step(self, views: int) -> None:
        """Pass the network as often as the process with the most views: each pass needs the weights of all."""
        passes = -(-views // VIEWS_AT_ONCE)
        most = self.trainer.strategy.reduce(torch.tensor(passes, device=self.device), reduce_op="max")
        with torch.inference_mode():
            for _ in range(int(most) - passes):
                self.model(self._black_clip())

    def on_validation_epoch_end(self) -> None:
        scores_BK, labels_B, _ = self._all_seen()
        if self.model.settings.multilabel:
            loss = F.binary_cross_entropy(scores_BK, labels_B)
            found = {"val_map": measure_multilabel(scores_BK, labels_B).mean_average_precision}
        else:
            loss = F.nll_loss(scores_BK.clamp_min(1e-12).log(), labels_B)
            metrics = measure(scores_BK, labels_B)
            found = {"val_top1": metrics.top1, "val_top5": metrics.top5}
        self.figures |= {"val_loss": float(loss)} | found

    def _all_seen(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, labels and rows of all processes, each video once, in the order of the rows."""
        seen, self.seen = self.seen, []
        seen = [part for parts in self._of_all_processes(seen) for part in parts]
        scores_BK, labels_B, rows_B = (torch.cat(parts) for parts in zip(*seen, strict=True))
        last = {row: place for place, row in enumerate(rows_B.tolist())}
        places = [last[row] for row in sorted(last)]
        return scores_BK[places], labels_B[places], rows_B[places]

    def end_epoch(self) -> None:
        """Add the training figures of the epoch. Called by the callback that shows them: Lightning calls callbacks
        before a module's own hook."""
        self.check_weights()
        loss, right, clips, _ = self._sum_over_processes(self.sums)
        self.sums = [0.0, 0.0, 0.0, 0.0]
        if clips:
            self.figures |= {"train_loss": loss / clips}
        if clips and not self.model.settings.multilabel:
            self.figures |= {"train_top1": right / clips}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Called on every process: each has sums of its own, all of which the first one saves."""
        sums = self._of_all_processes(self.sums)
        checkpoint |= {"sums": sums, "facts": self.facts, "recipe": self.recipe.model_dump(mode="json")}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.global_rank < len(checkpoint["sums"]):  # else between epochs, where they are zero
            self.sums = checkpoint["sums"][self.global_rank]
        if self.changed:  # a schedule of other parts could not be loaded; `on_train_start` makes the new one
            checkpoint["lr_schedulers"] = []

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        # Fused steps preclude Lightning's clipping of scaled gradients, and torch has none of SGD for sharded weights.
        sharded_sgd = recipe.training.strategy == "fsdp" and recipe.optimizer.name == "sgd"
        fused = recipe.training.precision != "16-mixed" and not sharded_sgd
        optimizer = make_optimizer(self.model, recipe.optimizer, self.batch, fused=fused)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self._schedule(optimizer), "interval": "step"}}

    def _schedule(self, optimizer: Optimizer) -> LRScheduler:
        epochs = self.recipe.training.epochs
        return make_schedule(optimizer, self.recipe.optimizer, self._steps_an_epoch(), epochs)

    def _steps_an_epoch(self) -> float:
        return float(self.trainer.estimated_stepping_batches) / self.recipe.training.epochs


def average(model: TimeSformer, decay: float) -> AveragedModel:
    """A copy of a model that follows it: after n steps, averaged = d averaged + (1 - d) model, d = min(decay,
    (1 + n) / (10 + n)), so that it forgets the beginning sooner."""

    @torch.no_grad()
    def follow(averaged: Any, current: Any, steps: Any) -> None:
        n = int(steps)
        share = 1 - min(decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(list(averaged), list(current), share)

    return AveragedModel(model, multi_avg_fn=follow).requires_grad_(False)
