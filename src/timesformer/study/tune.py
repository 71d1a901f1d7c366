"""`timesformer tune`: learning rate, weight decay and strength of augmentation, found inside the training split.

OUT/data/        the training videos in two parts: train.csv, and val.csv, which the trials are scored on
OUT/trials.log   Optuna's journal, which a search goes on with
OUT/runs/        the trainings of the trials
OUT/tune.json    the trials, and the best settings as overrides
OUT/recipe.yaml  the recipe with the best settings, for `timesformer train --recipe`
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from timesformer.bench.child import EndedError
from timesformer.config import ProbeRecipe, Recipe
from timesformer.data.folds import Fold, Folds, make_folds
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.data.write_lists import write_lists
from timesformer.errors import SettingError, TimesformerError, TrainingError, one_line
from timesformer.evaluation.score_files import read_scores
from timesformer.files import as_json, replacing
from timesformer.recipes import change_recipe
from timesformer.settings import make
from timesformer.study.cache import CachedRun
from timesformer.study.folder import claim_folder
from timesformer.study.key import config_key, machine_of, read_data, run_key, settings_that_count
from timesformer.study.pace import EPOCHS, by_time, check_overrides
from timesformer.study.perform import train_and_test
from timesformer.study.results import METRICS
from timesformer.study.studies import architecture_model
from timesformer.study.trials import Trial, ended, enqueue_own, find_optuna, suggest, tell
from timesformer.study.tuned import BEST
from timesformer.training.plan import check_beside_videos
from timesformer.training.videos import choose_videos, read_training
from timesformer.weights.keep import digest_weights

LAST = 1_000_000  # epochs between validations: after the last one alone
DECIDED = {"training.validate_every": LAST, "training.validation_fraction": 0, "training.patience": "null"}
LOCK = ".search.lock"
Say = Callable[[str], object]


@dataclass(frozen=True)
class Tuned:
    """The best of some trials. score: of the part of the training videos that no trial was trained on, of the first
    metric that there is; overrides: its settings; recipe: file of the recipe with them."""

    score: float
    overrides: tuple[str, ...]
    recipe: Path
    trials: int
    failed: int


def tune(
    recipe: Recipe | ProbeRecipe,
    data: str | Path,
    out: str | Path,
    *,
    trials: int = 8,
    minutes: float = 5.0,
    folds: Folds = 5,
    group: str | None = None,
    architecture: str | None = None,
    init: str | Path | None = None,
    overrides: Sequence[str] = (),
    threads: int | None = None,
    say: Say = lambda line: None,
    apart: bool = True,
) -> Tuned:
    """Search with Optuna for the settings whose training of some minutes has the best score on one fold of the
    training videos. The test split takes no part, nor does `val`.

    recipe: what is tuned; the first trial has its own settings. out: folder of the search, which goes on where it was
    stopped. folds, group: as for `fit_folds`; the first fold is what the trials are scored on. architecture: a baseline
    in place of the recipe's network, as study `models` has it. overrides: that the recipe has, which are here for the
    check that none of them is what tune decides itself. threads, say, apart: as for `run_study`.

    Raises SettingError, DataError and WeightsError for what is not possible, TrainingError where every trial fails.
    """
    study_of = find_optuna()
    if isinstance(recipe, ProbeRecipe):
        raise SettingError("tune is for whole networks; the recipe's task is probe, which chooses its settings itself")
    if trials < 1:
        raise SettingError(f"trials is {trials}; expected at least 1")
    if not 0 < minutes < float("inf"):
        raise SettingError(f"minutes is {minutes:g}; expected more than 0")
    if architecture is not None and architecture != recipe.model.architecture:
        recipe = make(
            Recipe, recipe.model_dump(mode="json") | {"model": architecture_model(recipe, architecture)}, architecture
        )
    check_overrides(overrides, (*EPOCHS, *DECIDED), "tune")
    by_time(recipe, "tune")  # before anything takes time
    if group is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"group": group})})
    out = Path(out)
    part = _claim(recipe, Path(data), out, minutes, folds, init, threads)
    with _searching(out):
        plan = _plan(part, out, minutes, init)
        search = study_of(out, recipe.seed)
        enqueue_own(search, recipe)
        while (number := len(ended(search, recipe)) + 1) <= trials:
            trial = search.ask()
            changes = suggest(trial, recipe)
            title = f"{number}/{trials}"
            say(f"{title}  {' '.join(changes)}")
            score = _try(plan, changes, title, threads, say, apart=apart)
            tell(search, trial, score)
            if score is not None:
                say(f"{title}  {plan.metric(score)}")
        return _finish(ended(search, recipe), recipe, out, plan)


@contextmanager
def _searching(out: Path) -> Iterator[None]:
    """One search at a time: a second one would take the trials of the first for stopped ones. Raises SettingError where
    another process searches."""
    try:
        with FileLock(out / LOCK, timeout=0):
            yield
    except KeyboardInterrupt as stop:
        stop.add_note("the same command continues it")
        raise
    except Timeout:
        raise SettingError(f"{out}: another process searches in this folder; wait for it, or name another") from None


@dataclass(frozen=True)
class _Plan:
    recipe: Recipe
    timed: Recipe
    lists: Path
    runs: Path
    digest: str
    init: str | None
    init_digest: str | None
    extra: dict[str, Any]
    part: Fold
    videos: int

    def metric(self, score: float) -> str:
        return f"score {score:.3f} on {len(self.part.test)} of {self.videos} training videos"


@dataclass(frozen=True)
class _Claimed:
    """What was checked. plain: the recipe that trials are of, without their own settings; machine: what decides how
    far they get in their time."""

    recipe: Recipe
    plain: Recipe
    training: Manifest
    part: Fold
    init_digest: str | None
    machine: dict[str, Any]


def _claim(
    recipe: Recipe,
    data: Path,
    out: Path,
    minutes: float,
    folds: Folds,
    init: str | Path | None,
    threads: int | None,
) -> _Claimed:
    """Cut the training videos, and check that what is left can be trained on, before anything is computed."""
    training = read_manifest(data, "train", quarantine=recipe.data.quarantine or True)
    part = make_folds(training, folds, recipe.data.group)[0]
    timed = by_time(recipe, "tune")
    # One validation, after the last epoch: so none chooses an epoch, which would flatter a trial.
    plain = change_recipe(timed, [*(f"{name}={value}" for name, value in DECIDED.items()), "data.quarantine=null"])
    assert isinstance(plain, Recipe)
    _, other = read_training(plain, data)
    choose_videos(plain, training.part(part.training), other)
    check_beside_videos(plain, training, out / "new", init)
    digest = None if init is None else digest_weights(init)
    machine = machine_of(plain, threads)
    claim_folder(
        out,
        {
            "study": "tune",
            "recipe": settings_that_count(recipe),
            "data": f"{training.digest()} {folds}",
            "weights": digest,
            "minutes": minutes,
            **machine,
        },
    )
    return _Claimed(recipe, plain, training, part, digest, machine)


def _plan(claimed: _Claimed, out: Path, minutes: float, init: str | Path | None) -> _Plan:
    """Write the lists of both parts."""
    plain, training, part, digest = claimed.plain, claimed.training, claimed.part, claimed.init_digest
    lists = out / "data"
    write_lists(training, {"train": part.training, "val": part.test}, lists)
    found = read_data(plain, lists)
    pace = config_key(plain, {"data": found.digest, "init": digest, **claimed.machine})
    extra = {"minutes": minutes, "pace": pace, **claimed.machine}
    given = None if init is None else str(init)
    return _Plan(
        claimed.recipe, plain, lists, out / "runs", found.digest, given, digest, extra, part, len(training.videos)
    )


def _try(plan: _Plan, changes: list[str], title: str, threads: int | None, say: Say, *, apart: bool) -> float | None:
    """The score of a trial; None of one that has failed."""
    recipe = change_recipe(plan.timed, changes)
    assert isinstance(recipe, Recipe)
    run = CachedRun(
        plan.runs / run_key(recipe, plan.digest, plan.init_digest, plan.extra), recipe, plan.digest, plan.init_digest,
        plan.extra,
    )  # fmt: skip
    try:
        free = train_and_test(
            run, plan.lists, plan.init, [{}], threads, lambda now: say(f"{title}  {now}"), apart=apart
        )
    except (EndedError, TimesformerError) as error:
        run.write_failure(one_line(error))
        say(f"{title}  failed: {one_line(error)}")
        return None
    if not free:
        raise SettingError(f"{run.folder}: another process works on it")
    measured = read_scores(run.scores({})).as_result().metrics.known()
    return next(measured[name] for name in METRICS if name in measured)


def _finish(trials: list[Trial], recipe: Recipe, out: Path, plan: _Plan) -> Tuned:
    done = [(trial.score, trial) for trial in trials if trial.score is not None]
    if not done:
        raise TrainingError(f"{out}: all {len(trials)} trials have failed; {plan.runs}/*/failed.json have the reasons")
    score, best = max(done, key=lambda pair: pair[0])
    overrides = tuple(best.overrides)
    found = change_recipe(recipe, overrides)
    with replacing(out / BEST) as temporary:
        values = {"score": score, "overrides": best.overrides, "trials": [trial._asdict() for trial in trials]}
        temporary.write_text(as_json(values, indent=2) + "\n", encoding="utf-8")
    head = (
        f"# {shlex.join(['timesformer', *sys.argv[1:]])}\n"
        f"# The best of {len(done)} trials: {plan.metric(score)}, which chose it.\n"
    )
    with replacing(out / "recipe.yaml") as temporary:
        text = yaml.safe_dump(found.model_dump(mode="json"), sort_keys=False)
        temporary.write_text(head + text, encoding="utf-8")
    return Tuned(score, overrides, out / "recipe.yaml", len(trials), len(trials) - len(done))
