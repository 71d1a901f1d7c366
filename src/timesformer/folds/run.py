"""Train and test in folds, with several seeds, or both: as many runs, their mean and how far it may be off.

RUN/parts.json         what was asked for, and the scores of each part that has ended; at the end their summary
RUN/folds/fold1/       train.csv of a fold, and held_out/test.csv, which no fold is validated on while it trains
RUN/fold1/, seed0/, seed0/fold1/, ...    each part: a run, with scores.parquet, the scores of its test videos
RUN/model/             the ensemble of all classifiers
RUN/initial/           with `init`: a copy of those weights
RUN/features/          of a probe that has not ended: the features of all videos, computed once for all parts
RUN/recipe.yaml, sessions.yaml, log.txt  as those of any run
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from timesformer.config import ProbeRecipe, Recipe
from timesformer.data.dataset import SkippedVideos
from timesformer.data.folds import Folds
from timesformer.data.manifest import read_manifest
from timesformer.engine.engine import load_engine
from timesformer.errors import SettingError
from timesformer.evaluation.evaluate import EvaluationResult, Progress, evaluate_manifest
from timesformer.evaluation.metrics import NAMES
from timesformer.evaluation.score_files import write_scores
from timesformer.folds.divide import Division, Part, divide
from timesformer.folds.parts import FoldsResult, PartResult, read_parts, write_parts
from timesformer.folds.table import results_table
from timesformer.training.bar import counted, make_bar
from timesformer.training.fit import fit_part, holds_work, make_folder, remove_new, resume
from timesformer.training.launch import find_launch
from timesformer.training.log import Log, describe_session, read_sessions, write_session
from timesformer.training.plan import SharedFeatures, check_beside_videos
from timesformer.training.recipe import read_recipe
from timesformer.training.result import FitResult
from timesformer.training.resume import read_run, resume_command
from timesformer.weights.classifier import load_model
from timesformer.weights.ensemble import save_ensemble
from timesformer.weights.keep import keep_weights, kept_weights

FINISHED = ("checkpoints", "initial", "features")  # of a part that has ended; they are several times its weights


def fit_folds(
    recipe: Recipe | ProbeRecipe | str | Path,
    data: str | Path,
    out: str | Path,
    *,
    folds: Folds | None = None,
    group: str | None = None,
    seeds: int | None = None,
    overrides: Sequence[str] = (),
    init: str | Path | None = None,
    console: Console | None = None,
) -> FoldsResult:
    """Train and test in folds of the `train` split, with several seeds, or in all folds with each seed.

    Every part is a run as `timesformer.fit` makes it, tested with all views of the weights' own protocol. Folds have
    classes alike and do not depend on the recipe or its seed, so that two runs with the same data can be compared fold
    by fold. The splits `val` and `test` take no part in them. Seeds alone are trained on `train` and tested on `test`,
    or on `val` where there is no `test`.

    Args:
        recipe, data, out, overrides, init, console: as for `timesformer.fit`.
        folds: how many, or "groups" for one of each group.
        group: column of the list, such as a person, whose groups stay whole; the recipe's `data.group` if not given.
        seeds: how many, counted from the recipe's own; 1 if not given.

    Raises:
        SettingError, DataError, WeightsError: as `timesformer.fit`; fewer than two folds or seeds, fewer groups than
            folds, a fold that would be refused as a run, such as one whose training videos lack a class or whose
            validation part cannot be cut. Nothing is written then.
        TrainingError, WorkerError, EngineError: a part has failed; `resume_folds` goes on with it.
    """
    out = Path(out)
    recipe = read_recipe(recipe, overrides, init=init)
    if group is not None and folds is None:
        raise SettingError(f"group is {group}, but there are no folds; --group COLUMN requires --folds")
    if folds is None and seeds is None:
        raise SettingError("folds and seeds: expected one or both; timesformer.fit trains once")
    if seeds is not None and seeds < 2:
        raise SettingError(f"seeds is {seeds}; expected at least 2, the seed of one run is the recipe's")
    if group is not None:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"group": group})})
    division = divide(recipe, Path(data), out, folds, range(recipe.seed, recipe.seed + (seeds or 1)))
    division.check(Path(data))
    check_beside_videos(recipe, division.training, out, init)
    return _execute(division, division.result, str(data), init, None, console)


def resume_folds(run: str | Path, *, data: str | Path | None = None, console: Console | None = None) -> FoldsResult:
    """Continue such a run: with the part that was stopped, after its last checkpoint, then with those that are left.

    It ends as if it had never been stopped. All it needs is in its folder, but for the data.

    Args:
        run: folder of the run.
        data: folder of the data set, where it is no longer the one that the run was started or last resumed with. A
            part that was stopped is then trained anew.
        console: as for `timesformer.fit`.

    Raises:
        SettingError: there is no such run, its files are damaged, or the data have changed.
        DataError, WeightsError, TrainingError, WorkerError, EngineError: as `fit_folds`.
    """
    out = Path(run)
    before, kept = read_run(out), read_parts(out)
    if data is None and not before.data.exists():
        raise SettingError(f"{out}: its data are no longer in {before.data}; name their folder with --data")
    folder = before.data if data is None else Path(data)
    division = divide(before.recipe, folder, out, kept.folds, kept.seeds)
    if division.result.videos != kept.videos:
        raise SettingError(
            f"{out}: videos was {kept.videos}, is {division.result.videos}; folds cannot change, start a new run"
        )
    if folder.resolve() != before.data.resolve():
        for part in _left(division, kept):
            shutil.rmtree(out / part.name, ignore_errors=True)
    initial = None if before.initial is None else kept_weights(before.initial)
    return _execute(division, kept, str(folder), before.init, initial, console)


def _execute(
    division: Division,
    result: FoldsResult,
    data: str,
    init: str | Path | None,
    initial: Path | None,
    console: Console | None,
) -> FoldsResult:
    """Run the parts that `result` does not have. `init`: the weights as they were given; `initial`: the copy of them,
    made now if None. What stops before there is anything to resume leaves nothing."""
    out = result.model.parent
    console = console or Console(quiet=True)
    log = Log(out, console)
    before = set(out.iterdir()) if out.is_dir() else None
    try:
        make_folder(out)
        log.say(f"parts   {len(division.parts)}, from {division.parts[0].title} to {division.parts[-1].title}")
        if not read_sessions(out):  # what a run that was killed before it had started has left
            for name in ("initial", "folds"):
                shutil.rmtree(out / name, ignore_errors=True)
        division.write_lists()
        if init is not None and initial is None:
            initial = keep_weights(init, out / "initial")
        write_parts(out, result)  # first: a folder with a session and without this would be taken for a single run
        given = None if init is None else str(init)
        write_session(out, division.recipe, describe_session(find_launch(), division.recipe.seed, data, given))
        for note in division.notes:
            log.say(f"note    {note}")
        left, shared = _left(division, result), SharedFeatures(division.training, out / "features" / "all.safetensors")
        for part in division.parts:
            if part in left:
                found = _run_part(part, out, initial, shared, log, console)
                result = dataclasses.replace(result, parts=(*result.parts, found))
                write_parts(out, result)
            for name in FINISHED:
                shutil.rmtree(out / part.name / name, ignore_errors=True)
        shutil.rmtree(shared.file.parent, ignore_errors=True)
        if not result.model.exists():
            save_ensemble({part.name.replace("/", "-"): out / part.name for part in result.parts}, result.model)
    except BaseException:
        if not result.parts and not any(holds_work(out / part.name, division.recipe.task) for part in division.parts):
            remove_new(out, before)
        raise
    for line in results_table(result):
        log.say(line)
    return result


def _left(division: Division, result: FoldsResult) -> list[Part]:
    """The parts that have not ended."""
    ended = {part.name for part in result.parts}
    return [part for part in division.parts if part.name not in ended]


def _run_part(
    part: Part, out: Path, initial: Path | None, shared: SharedFeatures, log: Log, console: Console
) -> PartResult:
    folder = out / part.name
    log.say(f"{part.title}: {'resumed' if holds_work(folder, part.recipe.task) else 'started'}")
    trained = _train(part, folder, initial, shared, console)
    try:
        tested = _test(part, trained.model, console)
    except KeyboardInterrupt as stop:
        log.note_stop(stop, f"continue with `{resume_command(folder)}`")
        raise
    write_scores(tested, folder / "scores.parquet")
    metrics = tested.summary()
    scores = ", ".join(f"{text} {metrics[name]:.3f}" for name, text in NAMES.items() if name in metrics)
    log.say(f"{part.title}: {scores}, {metrics['videos']} videos")
    return PartResult(part.name, part.recipe.seed, part.fold, part.groups, trained.epoch, metrics)


def _train(part: Part, folder: Path, initial: Path | None, shared: SharedFeatures, console: Console) -> FitResult:
    if holds_work(folder, part.recipe.task):
        return resume(folder, data=part.data, console=console)
    shutil.rmtree(folder, ignore_errors=True)
    return fit_part(part.recipe, part.data, folder, initial, console, shared)


def _test(part: Part, model: Path, console: Console) -> EvaluationResult:
    """With all views of the weights' own protocol. The videos of a fold that cannot be read count with its training
    videos, of the whole list: one may be more than the allowed fraction of a small fold."""
    recipe = part.recipe
    manifest = read_manifest(part.tested, part.split, quarantine=recipe.data.quarantine or True)
    rest = None if part.fold is None else read_manifest(part.data, "train")
    device = recipe.probe.device if isinstance(recipe, ProbeRecipe) else recipe.training.device
    with make_bar(console) as bar:
        task = bar.add_task("", total=None)

        def show(progress: Progress) -> None:
            where = f"{part.title}: test, video {counted(progress.done, progress.total)}"
            bar.update(task, total=progress.total, completed=progress.done, description=where)

        classifier = load_model(model)
        engine = load_engine(classifier, device=device)
        skipped = SkippedVideos(manifest, recipe.data.max_bad_fraction, rest)
        return evaluate_manifest(classifier, manifest, engine, recipe.data, show, skipped)
