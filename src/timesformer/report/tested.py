"""The scores of a run's videos that no part of it was trained on: as it keeps them, or measured now and kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from timesformer.engine.engine import make_engine
from timesformer.engine.fingerprint import fingerprint_of
from timesformer.errors import DataError, SettingError, TimesformerError, one_line
from timesformer.evaluation.evaluate import OnProgress, evaluate_manifest, ignore
from timesformer.evaluation.record import Stopwatch, record_test
from timesformer.evaluation.score_files import Scores, read_scores, write_scores
from timesformer.report.run import Run
from timesformer.training.log import Log
from timesformer.training.resume import EarlierRun, read_run, read_validation_part
from timesformer.training.videos import choose_videos, read_training, validation_groups
from timesformer.weights.classifier import load_model

HELD_OUT = "held_out.parquet"  # of a probe without val, see `timesformer.training.probe`
VALIDATION = "validation.parquet"  # what is measured here


@dataclass(frozen=True)
class Tested:
    """Scores, and what they are of in words; `folder` is where relative paths of videos lie. note: what does not fit
    RUN/model."""

    scores: Scores
    what: str
    folder: Path
    note: str | None = None


def scores_of_run(run: Run, on_progress: OnProgress = ignore) -> Tested | str:
    """The scores of a run that has ended, or why there are none.

    Of folds: the videos of all folds, each scored by the classifier of the fold that it was not in; of the first seed.
    Of a probe without a val split: its held-out scores. Of any other run: those of the videos that validate it, by
    RUN/model with all its views; RUN/validation.parquet keeps them until RUN/model is newer.
    """
    if not run.ended:
        return "A run that has not ended is not tested."
    folder = Path(run.sessions[-1]["folder"]) if run.sessions else Path()
    if run.folds is not None:
        return _of_folds(run, folder)
    if (run.folder / HELD_OUT).exists():
        what = "the training videos, by heads that have not seen them (cross-validation)"
        note = "The scores are of heads that have not seen the videos; the maps are of the final head, trained on them."
        return Tested(read_scores(run.folder / HELD_OUT), what, folder, note)
    file, model = run.folder / VALIDATION, run.folder / "model" / "config.json"
    if not (file.exists() and model.exists() and file.stat().st_mtime >= model.stat().st_mtime):
        try:
            problem = _measure(run, file, on_progress)
        except (DataError, SettingError) as error:
            problem = f"Its videos cannot be scored: {one_line(error)}."
        if problem is not None:
            return problem
    scores = read_scores(file)
    split = scores.record.split if scores.record else "val"
    return Tested(scores, f"the {len(scores.videos)} videos that validate the run ({split})", folder)


def _measure(run: Run, file: Path, on_progress: OnProgress) -> str | None:
    """Write the scores of the videos that validate a run; or say why there are none."""
    earlier: EarlierRun = read_run(run.folder)
    recipe = earlier.recipe
    if not earlier.data.exists():
        return f"Its data are no longer in {earlier.data}."
    kept = read_validation_part(run.folder, recipe) if recipe.task == "train" else None
    validation = choose_videos(recipe, *read_training(recipe, earlier.data), kept).validation
    if validation is None:
        return "No videos validate this run: the data have no val and no test split."
    classifier = load_model(run.folder / "model")
    device = recipe.probe.device if recipe.task == "probe" else recipe.training.device
    engine = make_engine((classifier,), "auto", "auto", device, None, forget=False)
    watch = Stopwatch(on_progress)
    result = evaluate_manifest(classifier, validation, engine, recipe.data, watch)
    result = replace(result, fingerprint=fingerprint_of((classifier,)))
    record = record_test(result, run.folder, earlier.data, validation.split, watch)
    groups, grouped = validation_groups(
        validation, recipe.data.group, Log(run.folder, Console(quiet=True), speaks=False)
    )
    of_video = dict(zip((video.path for video in validation.videos), groups, strict=True))
    write_scores(result, file, [of_video[path] for path in result.paths] if grouped else None, record)
    return None


def _of_folds(run: Run, folder: Path) -> Tested | str:
    """The parts' scores as one."""
    assert run.folds is not None
    first = [part for part in run.folds.parts if part.seed == run.folds.seeds[0]]
    try:
        parts = [read_scores(run.folder / part.name / "scores.parquet") for part in first]
    except TimesformerError as error:
        return f"The scores of its parts cannot be read: {one_line(error)}."
    if run.folds.folds is None:
        what = f"the {run.folds.split} split, by the classifier of seed {run.folds.seeds[0]}"
        return Tested(parts[0], what, folder)
    if any(part.labels != parts[0].labels for part in parts):
        return "The folds have different classes, so that their scores are no one table."
    groups = [part.groups for part in parts]
    scores = Scores(
        run.folder / "scores of all folds",
        tuple(video for part in parts for video in part.videos),
        parts[0].labels,
        torch.cat([part.scores_BK for part in parts]),
        torch.cat([part.labels_B for part in parts]),
        tuple(one for group in groups for one in group or ()) if all(groups) else None,
    )
    more = f", of seed {run.folds.seeds[0]}" if len(run.folds.seeds) > 1 else ""
    return Tested(scores, f"all {len(scores.videos)} videos, each by the fold that was not trained on it{more}", folder)
