"""Train a classifier: a recipe, a data set, and a folder for the run.

RUN/recipe.yaml        all settings of the run
RUN/sessions.yaml      command, versions, commit, hardware of each time it was started or resumed
RUN/model/             the finished classifier, what every other command takes as WEIGHTS
RUN/checkpoints/       last.ckpt to resume from
RUN/log.txt            what was printed
RUN/logs/              metrics.csv and tensorboard/
RUN/curves.png         the figures as a picture
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from rich.console import Console

from timesformer.config import Recipe
from timesformer.data.dataset import LeftOut, Problem, TestingViews, TrainingClips
from timesformer.data.loader import ShuffledEpochs, testing_loader, training_loader
from timesformer.disk import FULL
from timesformer.errors import SettingError, TrainingError, WeightsError
from timesformer.training.announce import announce
from timesformer.training.balance import video_weights
from timesformer.training.callbacks import CountLeftOut, Figures, RecordSession, SaveClassifier, WatchLastEpoch
from timesformer.training.checkpoint import SaveCheckpoints
from timesformer.training.log import Log, describe_session, write_session
from timesformer.training.plan import Plan, card_facts, make_plan, single_view
from timesformer.training.probe import run_probe
from timesformer.training.task import ClassificationTask
from timesformer.training.trainer import make_trainer

# What torch says of memory that does not suffice: of a GPU, of the machine, between processes.
OUT_OF_MEMORY = ("out of memory", "allocate memory", "ALLOC_FAILED", "allocate shared memory", "out of shared memory")
LESS_MEMORY = (
    "lower training.batch_size (and raise training.accumulate), or set training.checkpoint_activations=cheap or "
    "training.precision=bf16-mixed"
)


@dataclass(frozen=True)
class FitResult:
    """A finished run: its classifier's folder, the epoch it is of, its score, and the videos left out.

    score: on `watched`, "val" or "test"; None where there is neither. metric: what it is, "top-1", or "mAP" for data
    with several classes a video. first_process: whether this is the process that
    speaks for those that shared the run.
    """

    model: Path
    epoch: int
    score: float | None
    metric: str
    watched: str | None
    left_out: tuple[Problem, ...]
    first_process: bool = True


def fit(
    recipe: Recipe,
    data: str | Path,
    out: str | Path,
    *,
    init: str | Path | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    console: Console | None = None,
) -> FitResult:
    """Train on the `train` split, watching `val` (or `test` where there is no `val`).

    RUN/model holds the epoch of the best validation top-1; without a `val` split, the last epoch, so that the test
    split chooses nothing. `resume` goes on with the run in `out`; `accept_changes` with other settings than it began
    with. Raises TimesformerError before the first step for whatever does not fit, TrainingError for a run that cannot
    go on; one that stops before its first checkpoint leaves nothing behind.
    """
    console = console or Console(quiet=True)
    out = Path(out)
    plan = make_plan(recipe, data, out, init, resume=resume, accept_changes=accept_changes)
    launch = plan.launch
    log = Log(out, console, speaks=launch.process.rank == 0)
    before = set(out.iterdir()) if out.is_dir() else None
    session = describe_session(launch, recipe.seed, str(data), plan.facts["init"])
    try:
        if launch.process.rank == 0:
            _make_folder(out)
        announce(log, plan)
        with _explained(out):
            if recipe.probe is None:
                return _run(plan, session, log, console)
            write_session(out, recipe, session)
            return _probe(plan, log, console)
    except BaseException as stop:
        if isinstance(stop, KeyboardInterrupt):
            log.say(f"stopped; {_goes_on(out)}" + ("; --resume goes on from there" if _holds_work(out) else ""))
        if launch.process.rank == 0 and not _holds_work(out):
            _remove_new(out, before)
        raise


def _holds_work(out: Path) -> bool:
    """Whether a resumed run would have anything to go on from: a checkpoint, or features of a probe."""
    return (out / "checkpoints" / "last.ckpt").exists() or any((out / "features").glob("*.safetensors"))


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"{out}: this folder cannot be made: {error.strerror}") from None


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


def _run(plan: Plan, session: dict[str, Any], log: Log, console: Console) -> FitResult:
    recipe, out, process = plan.recipe, plan.out, plan.launch.process
    classifier, watched = plan.begun.classifier, plan.watched
    settings, preprocessing = classifier.model.settings, classifier.preprocessing
    clips = TrainingClips(plan.training, settings, preprocessing, recipe.augmentation, recipe.seed)
    weights = None
    if recipe.training.balance == "sampling":
        weights = video_weights(plan.training)
    loader = training_loader(clips, recipe.training.batch_size, recipe.data, process, weights)
    if plan.place is not None:  # before Lightning asks for batches, which with FSDP it does before it loads anything
        assert isinstance(loader.sampler, ShuffledEpochs)
        loader.sampler.go_to(plan.place.epoch, plan.place.batch)
    watching = None
    if watched is not None:
        views = TestingViews(watched, settings, single_view(preprocessing))
        watching = testing_loader(views, recipe.training.batch_size, recipe.data, process)
    left_out = [LeftOut(manifest, recipe.data.max_bad_share) for manifest in (plan.training, watched) if manifest]
    keep = SaveClassifier(
        classifier, out / "model", card_facts(plan), best=watched is not None and watched.split == "val"
    )
    callbacks: list[Callback] = [
        RecordSession(out, recipe, session),
        Figures(log, console, {"val": "validation", "test": "test split"}.get(watched.split, "") if watched else ""),
        CountLeftOut(left_out[0], left_out[1] if watched else None, log),
        keep,
        SaveCheckpoints(out / "checkpoints" / "last.ckpt", recipe.training.checkpoint_steps),
    ]
    if watched is not None:
        callbacks.append(WatchLastEpoch())
    trainer = make_trainer(plan, callbacks)
    changed = bool(plan.place and plan.place.changed)
    task = ClassificationTask(classifier, recipe, plan.training, plan.batch, plan.facts, changed=changed)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(task, loader, watching, ckpt_path=plan.place.checkpoint if plan.place else None)
    except SystemExit:  # what Lightning makes of Ctrl-C, which it ignores from then on
        signal.signal(signal.SIGINT, interrupt)
        raise KeyboardInterrupt from None
    metric, split = "mAP" if plan.training.multilabel else "top-1", watched.split if watched else None
    return FitResult(out / "model", keep.epoch, keep.score, metric, split, _problems(left_out), process.rank == 0)


@contextmanager
def _explained(out: Path) -> Iterator[None]:
    """What stops a run and a person can mend, as a TrainingError that says what is left."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise TrainingError(f"{error.filename or out}: cannot be written: {error.strerror}; {_goes_on(out)}") from error
    except (RuntimeError, MemoryError) as error:
        text = " ".join(str(error).split())
        if "DataLoader worker" in text:
            raise TrainingError(
                f"a process that decodes videos died, perhaps for want of memory ({text[:120]}): lower "
                f"data.workers or training.batch_size; {_goes_on(out)}"
            ) from error
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in text for sign in OUT_OF_MEMORY):
            raise TrainingError(f"out of memory: {LESS_MEMORY}; {_goes_on(out)}") from error
        raise
    except (TrainingError, WeightsError) as error:
        raise TrainingError(f"{error}; {_goes_on(out)}") from error


def _probe(plan: Plan, log: Log, console: Console) -> FitResult:
    """Train heads on a frozen backbone; the features of a run that was stopped are used again."""
    chosen, left_out = run_probe(plan, log, console)
    split = plan.watched.split if plan.watched else None
    return FitResult(plan.out / "model", chosen.epoch, chosen.top1, "top-1", split, _problems(left_out))


def _problems(left_out: list[LeftOut]) -> tuple[Problem, ...]:
    return tuple(Problem(path, reason) for part in left_out for path, reason in part.reasons.items())


def _goes_on(out: Path) -> str:
    file = out / "checkpoints" / "last.ckpt"
    if file.exists():
        return f"the last good checkpoint is {file}"
    return f"{out / 'features'} is kept" if _holds_work(out) else "there is no checkpoint yet"
