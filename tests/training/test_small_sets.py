"""Sets of a few videos, whose batches are smaller than the recipe's and whose steps are fewer."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from conftest import small_recipe
from timesformer.config import Recipe
from timesformer.recipes import load_recipe
from timesformer.training.balance import class_weights, video_weights
from timesformer.training.curves import read_metrics
from timesformer.training.fit import fit
from timesformer.training.plan import plan_training
from timesformer.weights.classifier import load_model

# What makes a packaged recipe a run of a second; batches, steps, mixing, averaging and the validation part stay.
QUICK = (
    "model.image_size=16",
    "model.num_frames=4",
    "augmentation.short_side=[16,16]",
    "training.epochs=2",
    "training.device=cpu",
    "training.precision=32-true",
    "training.validate_every=1",
    "optimizer.warmup_epochs=1",
    "data.workers=0",
)


def few(bars: Path, folder: Path, left: int, right: int) -> Path:
    """So many videos of two classes, under names of their own."""
    (folder / "videos").mkdir(parents=True)
    lines = ["path,label"]
    for label, count in (("left", left), ("right", right)):
        for number in range(count):
            (folder / "videos" / f"{label}{number}.mp4").symlink_to(bars / "train" / label / f"{number % 4}.mp4")
            lines.append(f"videos/{label}{number}.mp4,{label}")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    ("count", "part", "small", "large"),
    [
        # Batches of an epoch and clips of a batch: of finetune-small, with 16 videos; of finetune, with 8 videos twice.
        (2, 0, (1, 2), (1, 4)),
        (3, 0, (1, 3), (1, 6)),
        (5, 0, (1, 5), (1, 10)),
        (15, 2, (1, 13), (2, 14)),
        (17, 2, (1, 15), (2, 16)),
        (20, 2, (2, 9), (3, 12)),
        (33, 3, (2, 15), (4, 16)),
        (77, 8, (5, 14), (9, 16)),
    ],
)
def test_batches_and_steps_of_few_videos(
    bars: Path, run: Path, tmp_path: Path, count: int, part: int, small: tuple[int, int], large: tuple[int, int]
) -> None:
    data = few(bars, tmp_path / "data", count - count // 2, count // 2)
    for name, (batches, clips) in (("finetune-small", small), ("finetune", large)):
        recipe = load_recipe(name, QUICK)
        assert isinstance(recipe, Recipe)
        plan = plan_training(recipe, data, tmp_path / "run", run)
        assert len(plan.training.videos) == count - part
        assert (len(plan.validation.videos) if plan.validation else 0) == part
        assert (plan.sampler.batches, plan.batch_size) == (batches, clips)
        assert plan.batch == clips * min(recipe.training.accumulate, batches)


@pytest.mark.parametrize(
    ("recipe", "left", "right", "balance"),
    [("finetune-small", 18, 2, "sampling"), ("finetune", 18, 2, "loss"), ("finetune", 2, 1, "none")],
)
def test_a_set_of_few_videos_trains(
    bars: Path, run: Path, tmp_path: Path, recipe: str, left: int, right: int, balance: str
) -> None:
    """Mixed, averaged, accumulated; no video of the smaller class validates."""
    data = few(bars, tmp_path / "data", left, right)
    result = fit(recipe, data, tmp_path / "run", init=run, overrides=[*QUICK, f"training.balance={balance}"])
    assert result.validation_split == ("val" if left == 18 else None)
    rows = read_metrics(tmp_path / "run" / "logs" / "metrics.csv")
    losses = [float(row["train_loss"]) for row in rows if row["train_loss"]]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    assert load_model(tmp_path / "run").labels == ("left", "right")


def test_weights_are_of_the_videos_that_are_left(bars: Path, run: Path, tmp_path: Path) -> None:
    """Two of 18 validate, none of two: what is trained on is 16 to 2."""
    data = few(bars, tmp_path / "data", 18, 2)
    plan = plan_training(small_recipe("training.validation_fraction=0.1"), data, tmp_path / "run", None)
    assert plan.validation is not None
    assert [plan.validation.labels[video.label] for video in plan.validation.videos] == ["left", "left"]
    assert class_weights(plan.training).tolist() == [18 / 2 / 16, 18 / 2 / 2]
    assert video_weights(plan.training) == [1 / 16] * 16 + [1 / 2] * 2
