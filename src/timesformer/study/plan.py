"""What a study will do, all of it checked before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timesformer.config import Preprocessing, ProbeRecipe, Recipe
from timesformer.config.recipe import DATA_DECIDES
from timesformer.data.manifest import Manifest
from timesformer.errors import DataError, SettingError
from timesformer.recipes import change_recipe
from timesformer.settings import make
from timesformer.study.cache import CachedRun
from timesformer.study.grid import Cell, Study
from timesformer.study.key import StudyData, config_key, machine_of, read_data, run_key
from timesformer.study.pace import EPOCHS, by_time, check_overrides
from timesformer.study.tuned import with_tuned
from timesformer.training.plan import check_beside_videos
from timesformer.training.videos import choose_videos, read_training
from timesformer.weights.initialise import initialise_classifier, own_patch_size
from timesformer.weights.keep import digest_weights

Protocol = Mapping[str, Any]
RUNS = "runs"  # the folder of trainings beside those of studies


@dataclass(frozen=True)
class Task:
    """A cell with one seed: one row of the results. run: the training that it is a test of."""

    cell: Cell
    seed: int
    run: CachedRun
    config: str
    init: str | None


@dataclass(frozen=True)
class StudyPlan:
    """All rows of a study, and the trainings that they need, each once.

    recipe: of the study, before its cells change it. init: --init, as it was given; overrides: as they were given.
    """

    study: Study
    out: Path
    recipe: Recipe
    data: StudyData
    init: str | None
    tasks: tuple[Task, ...]

    @property
    def reference(self) -> str:
        """The cell that the others are held against."""
        return self.study.reference(self.recipe)

    @property
    def cells(self) -> list[Cell]:
        """In the order of the table."""
        return list({task.cell.name: task.cell for task in self.tasks}.values())

    @property
    def trainings(self) -> list[list[Task]]:
        """The rows of each training, in their order."""
        found: dict[Path, list[Task]] = {}
        for task in self.tasks:
            found.setdefault(task.run.folder, []).append(task)
        return list(found.values())


def plan_study(
    study: Study,
    recipe: Recipe | ProbeRecipe,
    data: str | Path,
    out: str | Path,
    *,
    seeds: int = 3,
    init: str | Path | None = None,
    overrides: Sequence[str] = (),
    minutes: float | None = None,
    tuned: Path | None = None,
    threads: int | None = None,
) -> StudyPlan:
    """The rows of a study, checked; nothing is written.

    recipe: with the overrides, which are here for the check that none of them is what the study varies. out: folder of
    the study; its trainings are in OUT/../runs. minutes: that each training takes, of a study of equal times. tuned:
    folder with the settings of each architecture, as `timesformer tune --out TUNED/ARCHITECTURE` writes them. threads:
    that compute, which with the device decide how far a training gets in its minutes.

    Raises SettingError, DataError and WeightsError for what is not possible, with the name of the cell where it is one.
    """
    out = Path(out)
    if isinstance(recipe, ProbeRecipe):
        raise SettingError("a study trains whole networks; the recipe's task is probe")
    if seeds < 1:
        raise SettingError(f"seeds is {seeds}; expected at least 1")
    if out.resolve().name == RUNS:
        raise SettingError(f"{out}: {RUNS} is the name of the folder of trainings beside a study; name another folder")
    if study.needs_weights and init is None:
        raise SettingError(f"study {study.name} is about the weights of --init; name them")
    if study.minutes != (minutes is not None):
        needs = "trains each cell for the same time" if study.minutes else "trains each cell for training.epochs"
        raise SettingError(f"study {study.name} {needs}; {'name it with' if study.minutes else 'leave out'} --minutes")
    if minutes is not None and not 0 < minutes < float("inf"):
        raise SettingError(f"minutes is {minutes:g}; expected more than 0")
    found = read_data(recipe, Path(data))
    if init is not None:
        recipe = _with_patches_of(init, recipe)
    if study.needs_weights and init is not None:
        recipe = with_network_of(init, recipe, found)
    try:
        cells = study.cells(recipe, init is not None)
        study.check_overrides(cells, overrides)
        if study.minutes:
            check_overrides(overrides, EPOCHS, f"study {study.name}")
    except SettingError as error:
        text = str(error)
        raise SettingError(text if study.name in text else f"study {study.name}: {text}") from None
    recipes = [cell.recipe(recipe) for cell in cells]
    if tuned is not None:
        recipes = [with_tuned(one, tuned) for one in recipes]
    extra: dict[str, Any] = {}
    if minutes is not None:
        recipes = [by_time(one, f"cell {cell.name}") for one, cell in zip(recipes, cells, strict=True)]
        extra = {"minutes": minutes, **machine_of(recipe, threads)}
    digest = None if init is None else digest_weights(init)
    tasks = []
    for cell, changed in zip(cells, recipes, strict=True):
        used, kept = (str(init), digest) if init is not None and cell.initialised else (None, None)
        for seed in range(recipe.seed, recipe.seed + seeds):
            seeded = change_recipe(changed, [f"seed={seed}"])
            assert isinstance(seeded, Recipe)
            folder = out.parent / RUNS / run_key(seeded, found.digest, kept, extra)
            run = CachedRun(folder, seeded, found.digest, kept, extra)
            tasks.append(Task(cell, seed, run, config_key(seeded, extra), used))
    plan = StudyPlan(study, out, recipe, found, None if init is None else str(init), tuple(tasks))
    _check(plan)
    return plan


def _with_patches_of(init: str | Path, recipe: Recipe) -> Recipe:
    """The recipe with the patch size that weights decide, since cells have sides of whole patches."""
    patch = own_patch_size(init)
    if patch is None or not hasattr(recipe.model, "patch_size"):
        return recipe
    changed = change_recipe(recipe, [f"model.patch_size={patch}"])
    assert isinstance(changed, Recipe)
    return changed


def with_network_of(init: str | Path, recipe: Recipe, data: StudyData) -> Recipe:
    """The recipe with the network that weights make of its own, so that it can be trained without them too."""
    training = data.training
    made = initialise_classifier(
        recipe.model, recipe.preprocessing, training.labels, init, multilabel=training.multilabel
    )
    values = made.classifier.model.settings.model_dump(mode="json", exclude=set(DATA_DECIDES))
    if hasattr(recipe.model, "initialisation") and "initialisation" in values:
        values["initialisation"] = recipe.model.initialisation
    return make(Recipe, recipe.model_dump(mode="json") | {"model": values}, f"{init}")


def _check(plan: StudyPlan) -> None:
    """Raises SettingError, DataError and WeightsError, with the name of the cell, for what cannot be trained."""
    whole = read_training(plan.recipe, plan.data.folder)
    networks = set()
    for task in plan.tasks:
        task.run.check()
        _check_protocol(task)
        if task.run.done is not None:
            continue
        recipe = task.run.recipe
        try:
            videos = choose_videos(recipe, *whole)
            if (network := (task.config, task.init)) not in networks:
                networks.add(network)
                check_beside_videos(recipe, videos.training, task.run.folder / "new", task.init)
                _check_weights(task, videos.training)
        except SettingError as error:
            raise SettingError(f"cell {task.cell.name}: {error}") from None
        except DataError as error:
            raise DataError(f"cell {task.cell.name}: {error}") from None
    _check_fractions(plan)


def _check_protocol(task: Task) -> None:
    """Raises SettingError for a test that the preprocessing does not allow."""
    if "clips" in task.cell.protocol:
        values = task.run.recipe.preprocessing.model_dump() | {"test_clips": task.cell.protocol["clips"]}
        make(Preprocessing, values, f"cell {task.cell.name}")


def _check_weights(task: Task, training: Manifest) -> None:
    """Raises SettingError where the weights of --init decide what the cell is about."""
    names = [name.removeprefix("model.") for name in task.cell.changes if name.startswith("model.")]
    if task.init is None or not names:
        return
    recipe = task.run.recipe
    made = initialise_classifier(
        recipe.model, recipe.preprocessing, training.labels, task.init, multilabel=training.multilabel
    )
    settings = made.classifier.model.settings
    for name in names:
        asked, got = getattr(recipe.model, name), getattr(settings, name, None)
        if asked != got:
            raise SettingError(f"model.{name} is {asked}, but the weights {task.init} decide it: {got}")


def _check_fractions(plan: StudyPlan) -> None:
    """Whether cells of different fractions of the data have different numbers of videos."""
    counts: dict[int, tuple[float, str]] = {}
    for task in plan.tasks:
        if task.seed != plan.recipe.seed:
            continue
        fraction = task.run.recipe.data.fraction
        count = len(plan.data.training.subset(fraction, task.seed).videos)
        other = counts.setdefault(count, (fraction, task.cell.name))
        if other[0] != fraction:
            raise DataError(
                f"{plan.data.training.source}: {len(plan.data.training.videos)} videos are too few: cells {other[1]} "
                f"and {task.cell.name} would both train on {count}"
            )
