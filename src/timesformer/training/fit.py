"""Train a classifier: a recipe, a data set, and a folder for the run.

RUN/recipe.yaml        all settings of the run
RUN/sessions.yaml      command, versions, commit, hardware of each time it was started or resumed
RUN/model/             the finished classifier, which every other command takes as WEIGHTS
RUN/checkpoints/       last.ckpt to resume from
RUN/features/          of a probe: the features of each split
RUN/log.txt            what was printed
RUN/logs/              metrics.csv and tensorboard/
RUN/curves.png         the metrics as a picture
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from timesformer.config import ProbeRecipe, Recipe
from timesformer.errors import SettingError, TrainingError, WeightsError, one_line
from timesformer.files import FULL
from timesformer.recipes import change_recipe, load_recipe
from timesformer.training.header import probe_header, training_header
from timesformer.training.log import Log, describe_session
from timesformer.training.plan import Plan, plan_probe, plan_training
from timesformer.training.probe import run_probe
from timesformer.training.result import FitResult
from timesformer.training.train import run_training

# What torch says where a GPU, the machine, or what processes share has too little memory.
OUT_OF_MEMORY = ("out of memory", "allocate memory", "ALLOC_FAILED", "allocate shared memory", "out of shared memory")
LESS_MEMORY = {
    "train": "lower training.batch_size (and raise training.accumulate), or set "
    "training.checkpoint_activations=cheap or training.precision=bf16-mixed",
    "probe": "lower probe.batch_size",
}

Run = Callable[[dict[str, Any], Log, Console], FitResult]


def fit(
    recipe: Recipe | ProbeRecipe | str | Path,
    data: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    init: str | Path | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    console: Console | None = None,
) -> FitResult:
    """Train a classifier on the `train` split of a data set, validating on `val`, or `test` where there is no `val`.

    The result's `model` is a folder of weights: of the epoch with the best score on `val`, or of the last epoch where
    there is no `val`, so that the test split chooses nothing. A probe trains only a head.

    Args:
        recipe: a packaged recipe by name, such as "finetune"; a YAML file; or a recipe.
        data: folder of the data set: lists such as train.csv, or folders such as train/CLASS/VIDEO.
        out: folder of the run, new or empty unless it is resumed.
        overrides: settings that differ from the recipe's: ["training.epochs=2", "seed=7"].
        init: weights to initialise the network from: a folder, a file or a hub id; a probe needs them.
        resume: continue the run in `out` after its last checkpoint.
        accept_changes: resume although settings, data or the number of processes have changed, where that is possible.
        console: where the lines of RUN/log.txt and a progress bar are printed; None prints nothing.

    Raises:
        SettingError, DataError, WeightsError: something does not fit; before the first step and before `out` is made.
        DataError: too many videos cannot be read.
        TrainingError: the loss is NaN or inf, memory or disk are full. A run that stops before its first checkpoint
            leaves no files.
    """
    if isinstance(recipe, str | Path):
        recipe = load_recipe(recipe, overrides)
    elif overrides:
        recipe = change_recipe(recipe, overrides)
    if accept_changes and not resume:
        raise SettingError("--accept-changes requires --resume")
    out, console = Path(out), console or Console(quiet=True)
    if isinstance(recipe, ProbeRecipe):
        probe = plan_probe(recipe, data, out, init, resume=resume, accept_changes=accept_changes)
        return _execute(probe, probe_header(probe), functools.partial(run_probe, probe), str(data), console)
    plan = plan_training(recipe, data, out, init, resume=resume, accept_changes=accept_changes)
    return _execute(plan, training_header(plan), functools.partial(run_training, plan), str(data), console)


def _execute(plan: Plan[Any], header: list[str], run: Run, data: str, console: Console) -> FitResult:
    """Run what was planned, in its folder; one that stops before there is anything to resume leaves nothing there."""
    out, first = plan.out, plan.launch.process.rank == 0
    log = Log(out, console, speaks=first)
    before = set(out.iterdir()) if out.is_dir() else None
    session = describe_session(plan.launch, plan.recipe.seed, data, plan.facts["init"])
    try:
        if first:
            _make_folder(out)
        for line in header:
            log.say(line)
        with _explained(out, LESS_MEMORY[plan.recipe.task]):
            return run(session, log, console)
    except BaseException as stop:
        if isinstance(stop, KeyboardInterrupt):
            log.say(f"stopped; {_what_is_kept(out)}" + ("; continue with --resume" if _holds_work(out) else ""))
        if first and not _holds_work(out):
            _remove_new(out, before)
        raise


@contextmanager
def _explained(out: Path, less_memory: str) -> Iterator[None]:
    """What stops a run and a person can mend, as a TrainingError that says what is kept."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise TrainingError(
            f"{error.filename or out}: cannot be written: {error.strerror}; {_what_is_kept(out)}"
        ) from error
    except (RuntimeError, MemoryError) as error:
        text = one_line(error)
        if "DataLoader worker" in text:
            raise TrainingError(
                f"a process that decodes videos died, perhaps of too little memory ({text[:120]}): lower "
                f"data.workers or the batch size; {_what_is_kept(out)}"
            ) from error
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in text for sign in OUT_OF_MEMORY):
            raise TrainingError(f"out of memory: {less_memory}; {_what_is_kept(out)}") from error
        raise
    except (TrainingError, WeightsError) as error:
        raise TrainingError(f"{error}; {_what_is_kept(out)}") from error


def _holds_work(out: Path) -> bool:
    """Whether a resumed run would not start anew: there is a checkpoint, or there are features of a probe."""
    return (out / "checkpoints" / "last.ckpt").exists() or any((out / "features").glob("*.safetensors"))


def _what_is_kept(out: Path) -> str:
    file = out / "checkpoints" / "last.ckpt"
    if file.exists():
        return f"the last good checkpoint is {file}"
    return f"{out / 'features'} is kept" if _holds_work(out) else "there is no checkpoint yet"


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"{out}: cannot create this folder: {error.strerror}") from None


def _remove_new(out: Path, before: set[Path] | None) -> None:
    """Undo what a run has written: its folder, or what was not in it before."""
    if before is None:
        shutil.rmtree(out, ignore_errors=True)
        return
    for entry in set(out.iterdir()) - before:
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
