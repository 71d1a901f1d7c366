"""Train a classifier: a recipe, a data set, and a folder for the run.

RUN/recipe.yaml        all settings of the run
RUN/sessions.yaml      command, versions, commit, hardware of each time it was started or resumed; seconds and memory of
                       the one that ended it
RUN/initial/           with `init`: the weights that it is initialised with, head and all, before a probe is the head
RUN/model/             the finished classifier, which every other command takes as WEIGHTS
RUN/checkpoints/       last.ckpt to resume from
RUN/features/          the features of each split, of a probe and of a run that starts from one or is held against one
RUN/held_out.parquet   of a probe without a val split: scores of the training videos by heads that have not seen them
RUN/result.json        scores, their interval, and what they are held against
RUN/log.txt            what was printed
RUN/logs/              metrics.csv and tensorboard/; of a probe heads.csv
RUN/curves.png         the metrics as a picture
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from timesformer.config import AnyRecipe, ProbeRecipe, Recipe
from timesformer.device import find_device, is_out_of_memory
from timesformer.errors import SettingError, TrainingError, WeightsError, WorkerError
from timesformer.files import FULL
from timesformer.recipes import change_recipe
from timesformer.training.advice import probe_warning
from timesformer.training.floors import find_floors
from timesformer.training.header import probe_header, training_header
from timesformer.training.initial_probe import fit_initial_probe, start_from
from timesformer.training.log import Log, describe_session, end_session
from timesformer.training.plan import Plan, SharedFeatures, TrainingPlan, plan_run
from timesformer.training.probe import run_probe
from timesformer.training.recipe import read_recipe
from timesformer.training.result import FitResult, write_result
from timesformer.training.resume import PARTS, read_run, resume_command
from timesformer.training.train import run_training
from timesformer.training.trainable import keep_new

LESS_MEMORY = {
    "train": "lower training.batch_size (and raise training.accumulate), or set "
    "training.checkpoint_activations=cheap or training.precision=bf16-mixed",
    "probe": "try fewer of probe.heads (attentive keeps all tokens), or data.fraction=0.5",
}


def fit(
    recipe: Recipe | ProbeRecipe | str | Path,
    data: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    init: str | Path | None = None,
    console: Console | None = None,
) -> FitResult:
    """Train a classifier on the `train` split of a data set, validating on `val`. Where there is no `val`, that is
    a part of `train` (`training.validation_fraction`), or else `test`.

    The result's `model` is a folder of weights: of the epoch with the best score on `val`, or of the last epoch where
    it validates on `test` or on nothing, so that the test split chooses nothing. A probe trains only a head.

    Args:
        recipe: a packaged recipe by name, such as "finetune"; a YAML file; or a recipe.
        data: folder of the data set: lists such as train.csv, or folders such as train/CLASS/VIDEO.
        out: folder of the run, new or empty; `resume` continues the run in it.
        overrides: settings that differ from the recipe's: ["training.epochs=2", "seed=7"].
        init: weights to initialise the network from: a folder, a file or a hub id; a probe needs them.
        console: where the lines of RUN/log.txt and a progress bar are printed; None prints nothing.

    Raises:
        SettingError, DataError, WeightsError: something does not fit; before the first step and before `out` is made.
        DataError: too many videos cannot be read.
        TrainingError: the loss is NaN or inf, memory or disk are full, or a process that decodes videos has died or
            hangs. A run that stops before its first checkpoint leaves no files.
    """
    recipe = read_recipe(recipe, overrides, init=init)
    plan = plan_run(recipe, data, Path(out), init)
    return _execute(plan, str(data), None if init is None else str(init), console, new=True)


def fit_part(
    recipe: AnyRecipe, data: Path, out: Path, init: Path | None, console: Console, shared: SharedFeatures
) -> FitResult:
    """As `fit`, of one part among several, such as a fold: probes have their features from what all share."""
    plan = dataclasses.replace(plan_run(recipe, data, out, init), shared=shared)
    return _execute(plan, str(data), None if init is None else str(init), console, new=True)


def resume(
    run: str | Path,
    *,
    overrides: Sequence[str] = (),
    data: str | Path | None = None,
    accept_changes: bool = False,
    console: Console | None = None,
) -> FitResult:
    """Continue a run after its last checkpoint, or a probe with the features that it has; anew where there is neither.

    All it needs is in its folder, but for the data: the weights that it was initialised from may be gone.

    Args:
        run: folder of the run.
        overrides: settings to change, as for `fit`.
        data: folder of the data set, where it is no longer the one that the run was started or last resumed with.
        accept_changes: resume although settings, data or the number of processes have changed, where that is possible.
        console: as for `fit`.

    Raises:
        SettingError: there is no run, its files are damaged, or there are changes that are not or cannot be accepted.
        DataError, WeightsError, TrainingError: as `fit`.
    """
    out = Path(run)
    if (out / PARTS).exists():
        raise SettingError(f"{out}: a run of folds or seeds; resume_folds continues it, or `{resume_command(out)}`")
    before = read_run(out)
    recipe = change_recipe(before.recipe, overrides)
    if data is None and not before.data.exists():
        raise SettingError(f"{out}: its data are no longer in {before.data}; name their folder with --data")
    data = before.data if data is None else data
    plan = plan_run(recipe, data, out, before.initial, resume=True, accept_changes=accept_changes)
    return _execute(plan, str(data), before.init, console, new=False)


def _execute(plan: Plan[Any], data: str, init: str | None, console: Console | None, *, new: bool) -> FitResult:
    """Run what was planned, in its folder; one that stops before there is anything to resume leaves nothing there."""
    out, first = plan.out, plan.launch.process.rank == 0
    console = console if console and first else Console(quiet=True)
    log, began = Log(out, console, speaks=first), time.perf_counter()
    before = set(out.iterdir()) if out.is_dir() else None
    session = describe_session(plan.launch, plan.recipe.seed, data, init)
    try:
        if first:
            make_folder(out)
            if new:  # of folds that were killed before they had started; it would make this run one of them
                (out / PARTS).unlink(missing_ok=True)
        for line in training_header(plan) if isinstance(plan, TrainingPlan) else probe_header(plan):
            log.say(line, style="yellow" if line.startswith("warning") else None)
        with _explained(plan):
            if new and init and first:
                plan.initialised.classifier.save_pretrained(out / "initial")
                keep_new(out / "initial", plan.initialised.new)
            folds = isinstance(plan.recipe, ProbeRecipe)  # without val, a probe scores its training videos, in folds
            floors = find_floors(plan.training, plan.validation or (plan.training if folds else None))
            for floor in floors:
                log.say(floor.line)
            if isinstance(plan, TrainingPlan):
                probe = fit_initial_probe(plan, log) if first else None
                if probe is not None and probe.floor is not None:
                    log.say(probe.floor.line)
                    floors = (*floors, probe.floor)
                if probe is not None and plan.starts_from_probe:
                    plan = start_from(probe, plan, log)
                result = run_training(plan, floors, session, log, console)
            else:
                result = run_probe(plan, floors, session, log)
                if warning := probe_warning(result):
                    log.say(warning, style="yellow")
            if first:
                write_result(result, out)
                group = plan.recipe.probe if isinstance(plan.recipe, ProbeRecipe) else plan.recipe.training
                end_session(out, time.perf_counter() - began, find_device(group.device))
            return result
    except BaseException as stop:
        if isinstance(stop, KeyboardInterrupt):
            more = f"; continue with `{resume_command(out)}`" if holds_work(out, plan.recipe.task) else ""
            log.note_stop(stop, f"{_what_is_kept(plan)}{more}")
        if first and not holds_work(out, plan.recipe.task):
            remove_new(out, before)
        raise


@contextmanager
def _explained(plan: Plan[Any]) -> Iterator[None]:
    """What stops a run and a person can mend, as a TrainingError that says what is kept."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise TrainingError(
            f"{error.filename or plan.out}: cannot be written: {error.strerror}; {_what_is_kept(plan)}"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise TrainingError(f"out of memory: {LESS_MEMORY[plan.recipe.task]}; {_what_is_kept(plan)}") from error
        raise
    except (TrainingError, WeightsError, WorkerError) as error:
        raise TrainingError(f"{error}; {_what_is_kept(plan)}") from error


def holds_work(out: Path, task: str) -> bool:
    """Whether a resumed run would not start anew: there is a checkpoint, or there are features of a probe."""
    features = task == "probe" and any((out / "features").glob("*.safetensors"))
    return features or (out / "checkpoints" / "last.ckpt").exists()


def _what_is_kept(plan: Plan[Any]) -> str:
    file = plan.out / "checkpoints" / "last.ckpt"
    if file.exists():
        return f"the last good checkpoint is {file}"
    return (
        f"{plan.out / 'features'} is kept" if holds_work(plan.out, plan.recipe.task) else "there is no checkpoint yet"
    )


def make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"{out}: cannot create this folder: {error.strerror}") from None


def remove_new(out: Path, before: set[Path] | None) -> None:
    """Undo what a run has written: its folder, or what was not in it before."""
    if before is None:
        shutil.rmtree(out, ignore_errors=True)
        return
    for entry in set(out.iterdir()) - before:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
