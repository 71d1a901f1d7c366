"""The trials of a search with Optuna: what is suggested, what has ended, what was stopped and goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from timesformer.config import Recipe
from timesformer.errors import SettingError

if TYPE_CHECKING:
    import optuna

FACTOR = 8.0  # the learning rate is between an eighth of the recipe's and eight times it
DECAYS = (1e-4, 0.3)
STRENGTHS = (0.0, 2.0)  # multiples of the recipe's own augmentation
RANDOM_FIRST = 4  # trials, the recipe's own settings among them, before the sampler learns from them
STOPPED = "stopped"  # the trials that did not end, by their numbers, in the journal


class Trial(NamedTuple):
    """A trial that has ended. score: None where its training has failed."""

    number: int
    score: float | None
    overrides: list[str]


def find_optuna() -> Callable[[Path, int], optuna.Study]:
    """What opens the search of a folder. Raises SettingError where Optuna is not installed."""
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ModuleNotFoundError:
        raise SettingError("tune needs Optuna, which is not installed; pip install '.[tune]' in the checkout") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def study_of(out: Path, seed: int) -> optuna.Study:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(out / "trials.log")))
        study = optuna.create_study(storage=storage, study_name="tune", direction="maximize", load_if_exists=True)
        stopped = study.get_trials(states=[optuna.trial.TrialState.RUNNING])
        for trial in stopped:  # its training goes on from its last checkpoint
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
            study.set_user_attr(STOPPED, [*study.user_attrs.get(STOPPED, []), trial.number])
        # Each start draws others than those before: a seed that is the same would suggest the same again.
        study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials), n_startup_trials=RANDOM_FIRST)
        return study

    return study_of


def tell(search: optuna.Study, trial: optuna.Trial, score: float | None) -> None:
    """Say how a trial has ended; None: its training has failed."""
    import optuna

    search.tell(trial, score, state=optuna.trial.TrialState.FAIL if score is None else None)


def ended(search: optuna.Study, recipe: Recipe) -> list[Trial]:
    """The trials that have a score or have failed; not those that were stopped."""
    stopped = set(search.user_attrs.get(STOPPED, []))
    return [
        Trial(trial.number, trial.value, _overrides(recipe, trial.params))
        for trial in search.trials
        if trial.state.is_finished() and trial.number not in stopped
    ]


def enqueue_own(search: optuna.Study, recipe: Recipe) -> None:
    """The recipe's own settings come first; a weight decay of 0, which has no logarithm, as the least that there is."""
    if not search.trials:
        optimizer = recipe.optimizer
        decay = optimizer.weight_decay or DECAYS[0]
        strength = 1.0 if _augments(recipe) else 0.0
        values = {"learning_rate": optimizer.learning_rate, "weight_decay": decay, "strength": strength}
        search.enqueue_trial(values)


def suggest(trial: optuna.Trial, recipe: Recipe) -> list[str]:
    """The settings of a new trial, as overrides."""
    rate = recipe.optimizer.learning_rate
    trial.suggest_float("learning_rate", rate / FACTOR, rate * FACTOR, log=True)
    decay = recipe.optimizer.weight_decay or DECAYS[0]
    trial.suggest_float("weight_decay", min(decay, DECAYS[0]), max(decay, DECAYS[1]), log=True)
    trial.suggest_float("strength", *STRENGTHS)
    return _overrides(recipe, trial.params)


def _overrides(recipe: Recipe, params: dict[str, float]) -> list[str]:
    """The settings of a trial, rounded to three digits."""
    values: dict[str, Any] = {
        "optimizer.learning_rate": _round(params["learning_rate"]),
        "optimizer.weight_decay": _round(params["weight_decay"]),
    } | augmentation_of(recipe, params["strength"])
    return [f"{name}={json.dumps(value)}" for name, value in values.items()]


def augmentation_of(recipe: Recipe, strength: float) -> dict[str, float]:
    """Augmentation of a recipe, made weaker or stronger: a multiple of what it has, at most 1; of a recipe that has
    none, of small affine changes."""
    own, names = recipe.augmentation, _augments(recipe)
    found = {f"augmentation.{name}": _round(min(1.0, strength * getattr(own, name))) for name in names}
    if "augmentation.random_magnitude" in found:  # which is above 0: none is no operations
        if not found["augmentation.random_magnitude"]:
            return {**found, "augmentation.random_magnitude": own.random_magnitude, "augmentation.random_ops": 0}
        return found
    return found or {"augmentation.affine": _round(min(1.0, 0.1 * strength))}


def _augments(recipe: Recipe) -> list[str]:
    """The kinds of augmentation that a recipe has."""
    own = recipe.augmentation
    found = [name for name in ("affine", "erasing", "mixup", "cutmix") if getattr(own, name)]
    return [*found, *(["random_magnitude"] if own.random_ops else [])]


def _round(value: float) -> float:
    return float(f"{value:.3g}")
