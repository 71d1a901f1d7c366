"""What a report is of: a run, or scores of a test, each with all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from timesformer.data.quarantine import inside
from timesformer.engine.file import open_classifiers
from timesformer.engine.fingerprint import fingerprint_of
from timesformer.errors import SettingError, TimesformerError, one_line
from timesformer.evaluation.analysis import Analysis, analyse
from timesformer.evaluation.evaluate import OnProgress, ignore
from timesformer.evaluation.record import Record
from timesformer.evaluation.score_files import Scores, read_scores
from timesformer.report.run import Run, describe_run, is_run, run_of
from timesformer.report.tested import scores_of_run


@dataclass(frozen=True)
class Subject:
    """A run, or scores.

    Attributes:
        name: what it is called. is_run: whether it is a run, and not scores of a test.
        run: None of scores whose weights are no run's, or a run that is gone.
        scores, analysis: None where there are none. what: what the scores are of, or why there are none.
        weights: what explains its videos, None where that is unknown, gone or an ensemble. data: folder of the data.
        note: what of the page does not fit the scores, or is missing for that.
    """

    name: str
    run: Run | None
    scores: Scores | None
    analysis: Analysis | None
    what: str
    weights: Path | None
    data: Path | None
    is_run: bool = False
    note: str | None = None

    @property
    def record(self) -> Record | None:
        return self.scores.record if self.scores else None

    def shown(self, path: Path) -> str:
        """A video's path in the data set."""
        return inside(self.data, path) if self.data is not None else str(path)


def check_source(source: str | Path) -> Path:
    """The path of a run, or of a Parquet file; raises SettingError for anything else."""
    path = Path(source)
    if path.suffix == ".parquet":
        return path
    if path.is_file():
        raise SettingError(f"{path}: is no run and no scores; expected a folder of `timesformer train`, or *.parquet")
    if not path.exists():
        raise SettingError(f"{path}: no such folder; expected a run of `timesformer train`")
    if not is_run(path):
        raise SettingError(f"{path}: holds no run; expected the folder of a run, or scores of `timesformer test --out`")
    return path


def read_subject(source: str | Path, on_progress: OnProgress = ignore) -> Subject:
    """The folder of a run, or a Parquet file of `timesformer test --out`.

    A run whose videos were not scored yet is tested on those that validate it. Raises SettingError and DataError, in
    one line, for anything else, and for damaged files.
    """
    path = check_source(source)
    if path.suffix == ".parquet":
        return subject_of_scores(read_scores(path), path.name)
    run = describe_run(path)
    tested = scores_of_run(run, on_progress)
    model = run.folder / "model"
    weights = model if run.folds is None and model.exists() else None
    name = path.resolve().name
    if isinstance(tested, str):
        return Subject(name, run, None, None, tested, weights, run.data, is_run=True)
    analysis = analyse(tested.scores.as_result(tested.folder), groups=tested.scores.groups)
    return Subject(name, run, tested.scores, analysis, tested.what, weights, run.data, is_run=True, note=tested.note)


def subject_of_scores(scores: Scores, name: str, analysis: Analysis | None = None) -> Subject:
    """Scores of a test. analysis: of them, where there is one already."""
    record = scores.record
    if analysis is None:
        analysis = analyse(scores.as_result(), groups=scores.groups)
    if record is None:
        return Subject(name, None, scores, analysis, f"{len(scores.videos)} videos", None, None)
    what = f"the {len(scores.videos)} videos of {record.data}, {record.split}"
    if record.protocol:
        what += f" ({', '.join(f'{name} {value}' for name, value in record.protocol.items())})"
    weights, data = record.resolve(record.weights), record.resolve(record.data)
    if not weights.exists():
        return Subject(name, None, scores, analysis, what, None, data)
    note = _other_weights(weights, scores, record)
    if note is not None:
        return Subject(name, None, scores, analysis, what, None, data, note=note)
    folder = run_of(weights)
    run = None if folder is None else describe_run(folder)
    explained = weights if run is None or run.folds is None else None
    return Subject(name, run, scores, analysis, what, explained, data)


def _other_weights(weights: Path, scores: Scores, record: Record) -> str | None:
    """What a page says where the weights are no longer those that were tested; None where they are. The class names
    are those of the scores: a test may have had a file of them."""
    missing = "so there are no maps, floors and facts of the training"
    try:
        members = open_classifiers(weights)
    except (TimesformerError, OSError) as error:
        return f"The weights that were tested cannot be read, {missing}: {one_line(error)}."
    if fingerprint_of([replace(member, labels=scores.labels) for member in members]) == record.fingerprint:
        return None
    return f"{record.weights} has changed since this test, {missing}."
