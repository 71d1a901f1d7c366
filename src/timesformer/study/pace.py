"""Training for a given time: how many epochs fit it is measured first, so that the schedule of the learning rate ends
with the time, and a run that was stopped goes on as it would have.

RUNS/pace/HASH.json   seconds of an epoch and of a validation, by recipe, data and weights; all seeds share it
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from timesformer.config import Recipe
from timesformer.errors import SettingError, TrainingError
from timesformer.files import replacing
from timesformer.recipes import change_recipe
from timesformer.study.cache import CachedRun
from timesformer.study.key import config_key
from timesformer.study.step import expected_epoch
from timesformer.training.fit import fit
from timesformer.training.log import epoch_seconds
from timesformer.training.videos import choose_videos, read_training

EPOCHS = ("training.epochs",)  # which the time decides
LEAST = 0.1  # seconds of an epoch: a log has tenths, so a shorter one is 0.0 there
PILOT_RUN = "pilot"  # in the folder of the training that is the first to need a pace
PILOT = 3  # epochs: the first one starts the workers, the second is timed, the third is validated too


class Pace(NamedTuple):
    """Seconds of an epoch, and of a validation beside it."""

    epoch: float
    validation: float

    def epochs_in(self, seconds: float, validate_every: int) -> int:
        """How many epochs fit, with a validation after every so many and after the last."""
        epoch = max(self.epoch, LEAST)
        epochs = math.floor(seconds / epoch)
        while epochs and epochs * epoch + math.ceil(epochs / validate_every) * self.validation > seconds:
            epochs -= 1
        return epochs


def check_overrides(overrides: Sequence[str], decided: Sequence[str], what: str) -> None:
    """Raises SettingError for an override that would have no effect. decided: settings that `what` decides itself."""
    for override in overrides:
        if override.partition("=")[0] in decided:
            raise SettingError(f"override {override!r}: {what} decides it itself; leave it out")


def by_time(recipe: Recipe, name: str) -> Recipe:
    """A recipe whose number of epochs is still to be found. Raises SettingError for one that counts in epochs."""
    optimizer = recipe.optimizer
    if optimizer.warmup_epochs is not None:
        raise SettingError(
            f"{name}: optimizer.warmup_epochs is {optimizer.warmup_epochs:g}, and training by time counts no epochs; "
            "add optimizer.warmup_epochs=null optimizer.warmup_fraction=0.05"
        )
    if optimizer.schedule == "steps":
        raise SettingError(f"{name}: optimizer.schedule is steps, at epochs; training by time needs cosine or constant")
    found = change_recipe(recipe, ["training.epochs=1"])
    assert isinstance(found, Recipe)
    return found


def recipe_for(recipe: Recipe, minutes: float, data: Path, run: CachedRun, init: str | None) -> Recipe:
    """The recipe with the epochs that fit the time on this machine. Raises TrainingError where none does."""
    pace = measure_pace(recipe, minutes, data, run, init)
    epochs = pace.epochs_in(60 * minutes, recipe.training.validate_every)
    if not epochs:
        raise TrainingError(f"an epoch takes {(pace.epoch + pace.validation) / 60:.1f} minutes, more than {minutes:g}")
    return _with_epochs(recipe, epochs)


def measure_pace(recipe: Recipe, minutes: float, data: Path, run: CachedRun, init: str | None) -> Pace:
    """The pace of a recipe with any seed, from three epochs, or as it was measured before; of the trials of a search
    it is the same, under the name that they share. Raises TrainingError where a timed step says that not one epoch fits
    the minutes: three of them would take a slow network longer than all of its training may."""
    folder = run.folder.parent / "pace"
    folder.mkdir(parents=True, exist_ok=True)
    machine = {name: run.extra[name] for name in ("device", "threads") if name in run.extra}
    key = run.extra.get("pace") or config_key(recipe, {"data": run.data, "init": run.init} | machine)
    file = folder / f"{key}.json"
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            training = choose_videos(recipe, *read_training(recipe, data)).training
            expected, _ = expected_epoch(recipe, training, init)
            if expected > 60 * minutes:
                raise TrainingError(f"an epoch would take about {expected / 60:.1f} minutes, more than {minutes:g}")
            pilot = run.folder / PILOT_RUN
            shutil.rmtree(pilot, ignore_errors=True)
            timed = change_recipe(_with_epochs(recipe, PILOT), [f"training.validate_every={PILOT}"])
            fit(timed, data, pilot, init=init)
            seconds = epoch_seconds(pilot)
            shutil.rmtree(pilot)
            pace = Pace(seconds[2], max(0.0, seconds[3] - seconds[2]))
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(pace._asdict()) + "\n", encoding="utf-8")
        return Pace(**json.loads(file.read_text(encoding="utf-8")))


def _with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    found = change_recipe(recipe, [f"training.epochs={epochs}"])
    assert isinstance(found, Recipe)
    return found
