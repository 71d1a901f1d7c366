"""Whether a run may start in a folder, or resume in one, and where it then resumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from timesformer.config import AnyRecipe, ProbeRecipe, Recipe
from timesformer.errors import SettingError, one_line
from timesformer.settings import make, with_new_names
from timesformer.training.features import read_notes
from timesformer.training.log import read_sessions

# Changes that cannot be accepted: the weights or the optimiser's state would not match.
FIXED = ("model.", "optimizer.name", "optimizer.layer_decay", "optimizer.decay_all", "training.ema", "init", "classes")
# Changes that a run stopped inside an epoch cannot resume with: they decide what the epoch's batches are.
EPOCH = (
    "seed",
    "training.batch_size",
    "training.accumulate",
    "training.balance",
    "augmentation.repeats",
    "data.fraction",
    "processes",
    "videos",
)


class Change(NamedTuple):
    """A setting or a fact, by its dotted name, that is not what it was; None stands for what is not there."""

    name: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.name} was {_short(self.old)}, is {_short(self.new)}"


class ResumePoint(NamedTuple):
    """Where a run resumes: its checkpoint, the steps it has taken, the next epoch and batch, and what has changed."""

    checkpoint: Path
    steps: int
    epoch: int
    batch: int
    changes: list[Change]


def check_new(out: Path) -> None:
    """Raises SettingError where a new run cannot start in a folder: it must not exist or be empty."""
    if out.exists() and not out.is_dir():
        raise SettingError(f"{out}: is a file; a run needs a folder")
    if read_sessions(out):
        raise SettingError(f"{out}: already holds a run; --resume continues it, or name another folder")
    if out.exists() and any(out.iterdir()):
        raise SettingError(f"{out}: is not empty; a run needs a folder of its own")


def find_resume_point(out: Path, recipe: Recipe, facts: dict[str, Any], *, accept: bool) -> ResumePoint | None:
    """Where the run in `out` resumes; None where it was stopped before its first checkpoint.

    `facts`: what beside the recipe must be as it was: init, classes, processes, videos. Raises SettingError for no run,
    for files that are damaged, and for changes, all of them listed, unless `accept` and they can be accepted.
    """
    file, now = out / "checkpoints" / "last.ckpt", recipe.model_dump(mode="json")
    if not file.exists():
        if _holds_run(out):
            _accept(out, differences(_read_recipe(out, recipe), now), accept=accept)
        return None
    _read_recipe(out, recipe)  # may hold changes that no step was taken with
    with _naming_damage(out, file):
        kept = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        before, steps, (epoch, batch) = dict(kept["recipe"]), int(kept["global_step"]), kept["place"]
        before_facts = dict(kept["facts"])
    changes = differences(_upgraded(before, out) | before_facts, now | facts)
    if fixed := [change for change in changes if change.name.startswith(FIXED)]:
        raise SettingError(f"{out}: cannot resume with another network or optimiser than it has: {_listed(fixed)}")
    _accept(out, changes, accept=accept)
    if within := [change for change in changes if batch and change.name in EPOCH]:
        raise SettingError(f"{out}: stopped inside an epoch, where its batches cannot change: {_listed(within)}")
    if recipe.training.epochs < epoch + bool(batch):
        at = f"inside epoch {epoch + 1}" if batch else f"past epoch {epoch}"
        raise SettingError(f"{out}: training.epochs is {recipe.training.epochs}, but the run is already {at}")
    return ResumePoint(file, steps, epoch, batch, changes)


def check_probe_resumes(out: Path, recipe: ProbeRecipe, facts: dict[str, Any], *, accept: bool) -> None:
    """Raises SettingError as `find_resume_point`. A probe resumes with the features that were computed."""
    features, now = out / "features" / "train.safetensors", recipe.model_dump(mode="json")
    if not _holds_run(out):
        return
    before = _read_recipe(out, recipe)
    if features.exists():
        with _naming_damage(out, features):
            before |= read_notes(features)["facts"]
            now |= facts
    _accept(out, differences(before, now), accept=accept)


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[Change]:
    """What differs between two nested dictionaries."""
    changes = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            changes += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            changes.append(Change(f"{prefix}{key}", old, new))
    return changes


def _holds_run(out: Path) -> bool:
    """Whether there is a run to compare with; False for one killed before it had written its recipe."""
    if read_sessions(out):
        return True
    if (out / "log.txt").exists():
        return False
    raise SettingError(f"{out}: nothing to resume; there is no run in this folder")


def _read_recipe(out: Path, recipe: AnyRecipe) -> dict[str, Any]:
    """The values of RUN/recipe.yaml, which must be of the same task as `recipe`."""
    with _naming_damage(out, out / "recipe.yaml"):
        values = dict(yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8")))
    values = _upgraded(values, out)
    if values["task"] != recipe.task:
        raise SettingError(f"{out}: holds a run of task {values['task']}, not {recipe.task}; name another folder")
    return values


def _upgraded(values: dict[str, Any], out: Path) -> dict[str, Any]:
    """The values of a run's recipe as this version writes them; version 0.1.0 had other names, and no task."""
    if "task" not in values and values.pop("probe", None) is not None:
        raise SettingError(f"{out}: probes of version 0.1.0 cannot be resumed; start it anew in another folder")
    kind = Recipe.class_for(values)
    recipe = make(kind, with_new_names(kind, values), f"{out}: recipe of the run")
    return recipe.model_dump(mode="json")


@contextmanager
def _naming_damage(out: Path, file: Path) -> Iterator[None]:
    """Whatever a damaged file makes yaml, torch or safetensors raise, as a SettingError."""
    try:
        yield
    except Exception as error:
        raise SettingError(f"{out}: cannot resume, {file.name} is damaged: {one_line(error)[:200]}") from None


def _accept(out: Path, changes: list[Change], *, accept: bool) -> None:
    if changes and not accept:
        raise SettingError(
            f"{out}: changed since the run started: {_listed(changes)}; --accept-changes resumes all the same"
        )


def _listed(changes: list[Change]) -> str:
    return "; ".join(map(str, changes))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
