"""What a run says that learns nothing, and what to change."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from timesformer.config import Recipe
from timesformer.data.manifest import Manifest
from timesformer.evaluation.metrics import NAMES
from timesformer.training.balance import class_counts
from timesformer.training.floors import Floor
from timesformer.training.log import Log
from timesformer.training.plan import TrainingPlan
from timesformer.training.result import FitResult
from timesformer.training.task import ClassificationTask

UNEQUAL = 1.5  # times as many videos of the most frequent class as of the rarest one
LEARNED = 0.9  # of the training clips that are right
AUGMENTED = (("mixup", 0.3), ("random_ops", 2), ("affine", 0.1))  # what is tried where it is off


class WarnOfFloors(Callback):
    """Warns, once of each, where all validated videos are classified alike, and where the score is below a floor.

    The first is looked for in every validation from a third of the epochs on, before which it is common; the second in
    the first of them. With `training.balance` the score is the mean class accuracy, which is what is trained for then.
    """

    def __init__(self, plan: TrainingPlan, floors: tuple[Floor, ...], log: Log) -> None:
        assert plan.validation is not None
        self.plan, self.floors, self.lines = plan, floors, log
        self.several = len({video.labels for video in plan.validation.videos}) > 1
        self.alike = self.compared = False  # whether it has been said; whether it has been looked at

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ClassificationTask)
        assert trainer.max_epochs is not None
        epoch, metrics, scores = trainer.current_epoch + 1, pl_module.metrics, pl_module.scores
        if f"{pl_module.split}_loss" not in metrics or 3 * epoch < trainer.max_epochs:
            return
        compared, self.compared = self.compared, True
        name = score_name(self.plan.recipe, multilabel=self.plan.training.multilabel)
        score = metrics[f"{pl_module.split}_{name}"]
        highest = max(self.floors, key=lambda floor: floor.metrics[name])
        if self.several and len(scores.predicted) == 1:
            if self.alike:
                return
            self.alike = True
            (label,) = scores.predicted
            what = (
                f"all {scores.videos} videos of {pl_module.split} are classified as {self.plan.training.labels[label]}"
            )
        elif not compared and score < highest.metrics[name]:
            what = (
                f"{pl_module.split} {NAMES[name]} {score:.3f} is below the floor {highest.metrics[name]:.3f}, "
                f"{highest.what}"
            )
        else:
            return
        advice = what_to_change(self.plan, metrics.get("train_top1"))
        self.lines.say(f"warning after epoch {epoch}: {what}; {advice}", style="yellow")

    def state_dict(self) -> dict[str, Any]:
        return {"alike": self.alike, "compared": self.compared}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.alike, self.compared = state_dict["alike"], state_dict["compared"]


def probe_warning(result: FitResult) -> str | None:
    """A line about a probe whose features do not tell the classes apart, and what to change; None for others.

    Its balanced accuracy is no higher than that of one class for all videos, or its top-1 is below a floor.
    """
    for floor in result.floors:
        score, balanced = result.score or 0.0, result.metrics.get("mean_class_accuracy", 1.0)
        lowest = floor.metrics["mean_class_accuracy"]
        if balanced <= lowest:
            what = f"{NAMES['mean_class_accuracy']} {balanced:.3f} is not above the floor {lowest:.3f}, {floor.what}"
        elif score < floor.metrics["top1"]:
            what = f"top-1 {score:.3f} is below the floor {floor.metrics['top1']:.3f}, {floor.what}"
        else:
            continue
        return f"warning {what}: these features do not tell the classes apart; try other weights, with --init"
    return None


def score_name(recipe: Recipe, *, multilabel: bool) -> str:
    """The metric that a run is held against its floors by."""
    if multilabel:
        return "map"
    return "top1" if recipe.training.balance == "none" else "mean_class_accuracy"


def what_to_change(plan: TrainingPlan, train_top1: float | None) -> str:
    """Settings that may help a run that learns nothing, or nothing that holds for new videos."""
    recipe, initialised = plan.recipe, plan.initialised.from_weights
    rate, epochs = recipe.optimizer.learning_rate, recipe.training.epochs
    lower = f"optimizer.learning_rate={rate / 3:.2g}"
    if train_top1 is not None and train_top1 > LEARNED:
        off = [f"augmentation.{name}={value}" for name, value in AUGMENTED if not getattr(recipe.augmentation, name)]
        changes = [lower, *off[:2]]
        if initialised and recipe.training.trainable == "all":
            changes.append("training.trainable=adapters")
        learned = f"the training videos are learned (top-1 {train_top1:.3f}) without telling new ones apart; "
    else:
        changes = [f"{lower} or {rate * 3:.2g}", f"training.epochs={2 * epochs}"]
        if recipe.training.trainable != "all":
            changes.append("training.trainable=all")
        learned = ""
    if recipe.training.balance == "none" and _unequal(plan.training):
        changes.append("training.balance=sampling")
    if not initialised:
        changes.append("--init WEIGHTS of a video model or an image ViT")
    return f"{learned}try {', '.join(changes)}"


def _unequal(training: Manifest) -> bool:
    counts_K = class_counts(training)
    return bool(counts_K.max() > UNEQUAL * counts_K[counts_K > 0].min())
