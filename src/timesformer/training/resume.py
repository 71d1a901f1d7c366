"""Whether a run may start in a folder, or resume in one, what it then finds there, and where it resumes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from timesformer.config import AnyRecipe, ProbeRecipe, Recipe
from timesformer.errors import SettingError, one_line
from timesformer.features.store import read_notes
from timesformer.files import is_utf_8
from timesformer.settings import make, with_new_names
from timesformer.training.log import read_sessions

# Changes that cannot be accepted: the weights or the optimiser's state would not match.
FIXED = (
    "model.",
    "optimizer.name",
    "optimizer.layer_decay",
    "optimizer.new_rate_factor",
    "optimizer.decay_all",
    "training.trainable",
    "training.last_blocks",
    "training.adapter_rank",
    "training.initial_head",
    "training.ema",
    "classes",
)
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
PARTS = "parts.json"  # in the folder of a run of folds or seeds, see `timesformer.folds.run`
# What a run writes before it has started: the log, the weights that it is initialised from, their features, its
# metrics; and one of folds or seeds its lists and PARTS.
UNSTARTED = ("log.txt", "initial", "features", "logs", "folds", PARTS)
VALIDATION_PART = "validation videos"  # the fact: their paths, as lists of the data set write them


class EarlierRun(NamedTuple):
    """A run that can be resumed: its settings, data and weights to initialise from, with which it starts anew where it
    has no checkpoint. `init`: what it was started with."""

    recipe: AnyRecipe
    data: Path
    initial: Path | None
    init: str | None


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


class _Kept(NamedTuple):
    """What a checkpoint has of its run."""

    recipe: Recipe
    facts: dict[str, Any]
    steps: int
    epoch: int
    batch: int


def check_new(out: Path) -> None:
    """Raises SettingError where a new run cannot start in a folder: it must not exist, or be empty or hold no more than
    a run that was killed before it had started."""
    if not is_utf_8(str(out)):
        raise SettingError(f"{out}: not UTF-8, which TensorBoard cannot write to; name another folder")
    if out.exists() and not out.is_dir():
        raise SettingError(f"{out}: is a file; a run needs a folder")
    if read_sessions(out):
        raise SettingError(f"{out}: already holds a run; `{resume_command(out)}` continues it, or name another folder")
    entries = {entry.name for entry in out.iterdir() if not entry.name.startswith(".")} if out.exists() else set()
    if entries and not {"log.txt"} <= entries <= set(UNSTARTED):
        raise SettingError(f"{out}: is not empty; a run needs a folder of its own")


def resume_command(out: Path) -> str:
    """What to type to resume the run in a folder; of a part of several, all of them."""
    whole = (folder for folder in (out.parent, out.parent.parent) if (folder / PARTS).exists())
    out = next(whole, out)
    return f"timesformer train --resume {shlex.quote(str(out))}"


def read_run(out: Path) -> EarlierRun:
    """What the run in a folder needs to resume; none of it is outside but the data. Raises SettingError for no run."""
    sessions = read_sessions(out)
    if not sessions:
        if (out / "log.txt").exists():
            raise SettingError(f"{out}: nothing to resume; the run was stopped before it had started, start it again")
        raise SettingError(f"{out}: nothing to resume; there is no run in this folder")
    with _naming_damage(out, out / "sessions.yaml"):
        folder, data, init = (sessions[-1][name] for name in ("folder", "data", "init"))
    initial = out / "initial" if init else None
    if initial and not initial.exists():  # a run of an earlier version, whose RUN/model has all but its last steps
        initial = out / "model"
        if not (initial.exists() and (out / "checkpoints" / "last.ckpt").exists()):
            raise SettingError(f"{out}: cannot resume, initial/ is missing; start the run anew in another folder")
    return EarlierRun(_read_recipe(out), Path(folder) / data, initial, init)


def read_validation_part(out: Path, recipe: Recipe) -> list[str] | None:
    """The paths of the videos that were cut off to validate on; None where none were, or where the recipe now cuts
    another fraction or other groups."""
    if not (out / "checkpoints" / "last.ckpt").exists():
        return None
    kept = _read_checkpoint(out)
    before = kept.recipe
    if (before.training.validation_fraction, before.data.group) != (
        recipe.training.validation_fraction,
        recipe.data.group,
    ):
        return None
    part: list[str] | None = kept.facts.get(VALIDATION_PART)
    return part


def find_resume_point(out: Path, recipe: Recipe, facts: dict[str, Any], *, accept: bool) -> ResumePoint | None:
    """Where the run in `out` resumes; None where it was stopped before its first checkpoint.

    `facts`: what beside the recipe must be as it was: classes, processes, videos. Raises SettingError for damaged
    files, and for changes, all of them listed, unless `accept` and they can be accepted.
    """
    file, now = out / "checkpoints" / "last.ckpt", recipe.model_dump(mode="json")
    if not file.exists():
        _accept(out, differences(_read_recipe(out).model_dump(mode="json"), now), accept=accept)
        return None
    kept = _read_checkpoint(out)
    epoch, batch = kept.epoch, kept.batch
    changes = differences(kept.recipe.model_dump(mode="json") | kept.facts, now | facts)
    if fixed := [change for change in changes if change.name.startswith(FIXED)]:
        raise SettingError(f"{out}: cannot resume with another network or optimiser than it has: {_listed(fixed)}")
    if cut := [change for change in changes if change.name == VALIDATION_PART and not _is_part(change.new, change.old)]:
        raise SettingError(
            f"{out}: cannot resume with another validation part, which has videos that were trained on: {_listed(cut)}"
        )
    _accept(out, changes, accept=accept)
    if within := [change for change in changes if batch and change.name in EPOCH]:
        raise SettingError(f"{out}: stopped inside an epoch, where its batches cannot change: {_listed(within)}")
    if recipe.training.epochs < epoch + bool(batch):
        at = f"inside epoch {epoch + 1}" if batch else f"past epoch {epoch}"
        raise SettingError(f"{out}: training.epochs is {recipe.training.epochs}, but the run is already {at}")
    return ResumePoint(file, kept.steps, epoch, batch, changes)


def check_probe_resumes(out: Path, recipe: ProbeRecipe, facts: dict[str, Any], *, accept: bool) -> None:
    """Raises SettingError as `find_resume_point`. A probe resumes with the features that were computed."""
    features, now = out / "features" / "train.safetensors", recipe.model_dump(mode="json")
    before = _read_recipe(out).model_dump(mode="json")
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


def _is_part(new: list[str] | None, old: list[str] | None) -> bool:
    return bool(new) and set(new or ()) <= set(old or ())


def _read_checkpoint(out: Path) -> _Kept:
    """What RUN/checkpoints/last.ckpt says of its steps. recipe.yaml may have changes that no step was taken with."""
    file = out / "checkpoints" / "last.ckpt"
    with _naming_damage(out, file):
        kept = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        values, steps, (epoch, batch) = dict(kept["recipe"]), int(kept["global_step"]), kept["place"]
        facts = dict(kept["facts"])
        facts.pop("init", None)  # the path of the weights, which earlier versions compared
    recipe = _upgraded(values, out)
    assert isinstance(recipe, Recipe)
    return _Kept(recipe, facts, steps, epoch, batch)


def _read_recipe(out: Path) -> AnyRecipe:
    """The recipe of RUN/recipe.yaml."""
    with _naming_damage(out, out / "recipe.yaml"):
        values = dict(yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8")))
    return _upgraded(values, out)


def _upgraded(values: dict[str, Any], out: Path) -> AnyRecipe:
    """A run's recipe as this version has it; version 0.1.0 had other names, and no task."""
    if "task" not in values and values.pop("probe", None) is not None:
        raise SettingError(f"{out}: probes of version 0.1.0 cannot be resumed; start it anew in another folder")
    kind = Recipe.class_for(values)
    return make(kind, with_new_names(kind, values), f"{out}: recipe of the run")


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
