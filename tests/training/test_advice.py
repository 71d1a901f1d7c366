"""What a run says that learns nothing, when, and how often."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from conftest import small_recipe
from timesformer.recipes import load_recipe
from timesformer.training.advice import WarnOfFloors, probe_warning
from timesformer.training.fit import fit
from timesformer.training.floors import Floor
from timesformer.training.log import Log
from timesformer.training.plan import TrainingPlan, plan_training
from timesformer.training.result import FitResult
from timesformer.training.task import ClassificationTask

FLOORS = (
    Floor("majority", "most frequent class (left)", "val", {"top1": 0.5, "mean_class_accuracy": 0.5}),
    Floor("probe", "linear probe", "val", {"top1": 0.7, "mean_class_accuracy": 0.6}),
)
ADVICE = (
    "try optimizer.learning_rate=0.00067 or 0.006, training.epochs=18, --init WEIGHTS of a video model or an image ViT"
)
BOTH = (0, 1)


class Run:
    """Epochs that are validated to these scores, each a run that is resumed."""

    def __init__(self, bars: Path, folder: Path, *overrides: str, init: Path | None = None) -> None:
        self.plan: TrainingPlan = plan_training(
            small_recipe("training.epochs=9", *overrides), bars, folder / "run", init, resume=False
        )
        self.task = ClassificationTask(
            self.plan.initialised.classifier, self.plan.recipe, self.plan.training, 4, {}, "val"
        )
        self.folder = folder

    def lines(
        self, *epochs: tuple[float, tuple[int, ...]] | None, train_top1: float = 0.5, balanced: float | None = None
    ) -> list[str]:
        console = Console(file=io.StringIO(), width=1000)
        state: dict[str, Any] | None = None
        for number, found in enumerate(epochs):
            callback = WarnOfFloors(self.plan, FLOORS, Log(self.folder, console))
            if state is not None:
                callback.load_state_dict(state)
            self.task.metrics = {"train_top1": train_top1}
            if found is not None:
                score, self.task.scores.predicted = found
                other = score if balanced is None else balanced
                self.task.metrics |= {"val_loss": 1.0, "val_top1": score, "val_mean_class_accuracy": other}
                self.task.scores.videos = 4
            trainer: Any = SimpleNamespace(current_epoch=number, max_epochs=9)
            callback.on_train_epoch_end(trainer, self.task)
            state = callback.state_dict()
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue().splitlines()


@pytest.fixture
def small(bars: Path, tmp_path: Path) -> Run:
    return Run(bars, tmp_path)


def test_one_class_is_said_once_from_a_third_of_the_epochs_on(small: Run) -> None:
    alike = (0.5, (1,))
    assert small.lines(alike, alike, alike, alike, (0.4, BOTH), alike) == [
        f"warning after epoch 3: all 4 videos of val are classified as right; {ADVICE}"
    ]
    # Also where it begins later, and where the score is above the floors.
    assert small.lines(None, None, (0.8, BOTH), None, (0.9, (0,))) == [
        f"warning after epoch 5: all 4 videos of val are classified as left; {ADVICE}"
    ]


def test_below_the_highest_floor_is_said_of_the_first_validation(small: Run) -> None:
    below = (0.65, BOTH)
    said = "val top-1 0.650 is below the floor 0.700, linear probe"
    assert small.lines(below, below, None, below, below) == [f"warning after epoch 4: {said}; {ADVICE}"]
    assert small.lines(below, below, (0.7, BOTH), below, below) == []


def test_each_cause_once(small: Run) -> None:
    said = small.lines(None, None, (0.6, BOTH), (0.5, (0,)), (0.6, BOTH), (0.5, (1,)))
    assert [line.split(":")[0] for line in said] == ["warning after epoch 3", "warning after epoch 4"]
    assert ["below the floor" in line for line in said] == [True, False]


def test_balanced_training_is_held_against_the_balanced_floor(bars: Path, tmp_path: Path) -> None:
    run = Run(bars, tmp_path, "training.balance=sampling")
    assert run.lines(None, None, (0.4, BOTH), balanced=0.65) == []
    (line,) = run.lines(None, None, (0.8, BOTH), balanced=0.55)
    assert "val mean class accuracy 0.550 is below the floor 0.600, linear probe" in line


def test_a_run_that_knows_its_training_videos_is_told_something_else(small: Run) -> None:
    (line,) = small.lines(None, None, (0.6, BOTH), train_top1=0.98)
    assert line.endswith(
        "; the training videos are learned (top-1 0.980) without telling new ones apart; try "
        "optimizer.learning_rate=0.00067, augmentation.mixup=0.3, augmentation.random_ops=2, "
        "--init WEIGHTS of a video model or an image ViT"
    )


def test_initialised_runs_are_told_what_to_train(bars: Path, run: Path, tmp_path: Path) -> None:
    all_of_it = Run(bars, tmp_path, init=run)
    assert "training.trainable=adapters" in all_of_it.lines(None, None, (0.6, BOTH), train_top1=0.98)[0]
    assert "training.trainable" not in all_of_it.lines(None, None, (0.6, BOTH))[0]
    part = Run(bars, tmp_path, "training.trainable=video", init=run)
    (line,) = part.lines(None, None, (0.6, BOTH))
    assert line.endswith("training.epochs=18, training.trainable=all")


def test_what_is_to_be_tried_are_settings(small: Run) -> None:
    for train_top1 in (0.5, 0.98):
        (line,) = small.lines(None, None, (0.6, BOTH), train_top1=train_top1)
        load_recipe("finetune-small", [word.rstrip(",") for word in line.split() if "=" in word])


def test_a_whole_run_that_learns_nothing(bars: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "test").mkdir(parents=True)
    rows = [f"{bars}/train/left/{number}.mp4,left" for number in range(4)] + [f"{bars}/train/right/0.mp4,right"]
    (data / "train.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    (data / "test").rmdir()
    (data / "val.csv").write_text(f"path,label\n{bars}/val/left/0.mp4,left\n{bars}/val/right/0.mp4,right\n")
    settings = ("optimizer.learning_rate=1e-9", "optimizer.warmup_epochs=0", "training.epochs=6")
    fit(small_recipe(*settings), data, tmp_path / "run")
    lines = [line for line in (tmp_path / "run" / "log.txt").read_text().splitlines() if "warning" in line]
    assert len(lines) == 1, lines
    assert "training.balance=sampling" in lines[0]
    assert "warning after epoch 2: " in lines[0]


@pytest.mark.parametrize(
    ("score", "balanced", "said"),
    [
        (0.62, 0.5, "warning mean class accuracy 0.500 is not above the floor 0.500, most frequent class (left): "),
        (0.6, 0.55, "warning top-1 0.600 is below the floor 0.620, most frequent class (left): "),
        (0.62, 0.55, None),
    ],
)
def test_a_probe_that_tells_nothing_apart_says_so(score: float, balanced: float, said: str | None) -> None:
    floor = Floor("majority", "most frequent class (left)", "val", {"top1": 0.62, "mean_class_accuracy": 0.5})
    metrics = {"top1": score, "mean_class_accuracy": balanced}
    result = FitResult(Path("run/model"), 1, score, "top-1", "val", metrics=metrics, videos=50, floors=(floor,))
    found = probe_warning(result)
    assert (found is None) if said is None else (found is not None and found.startswith(said))
