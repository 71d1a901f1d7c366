"""One page of a run or a test, or of two side by side: `timesformer report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from timesformer.errors import DataError, SettingError, one_line
from timesformer.evaluation.compare import Comparison, compare, same_videos
from timesformer.evaluation.evaluate import OnProgress, ignore
from timesformer.evaluation.metrics import metric_name
from timesformer.evaluation.record import Record
from timesformer.report.confusion import confusion_table
from timesformer.report.curves import learning_curves
from timesformer.report.names import default_page
from timesformer.report.page import check_page, write_page
from timesformer.report.run import Run, floor_rows, repeat, score_text, size
from timesformer.report.subject import Subject, check_source, read_subject
from timesformer.report.videos import find_videos
from timesformer.settings import flat

ALONE = 100  # videos that one of two has right, in the table


class Score(NamedTuple):
    """A metric, its 95% interval where it has one, and what it is held against."""

    name: str
    value: float
    interval: Sequence[float] | None
    floors: list[tuple[str, float]]


def report(sources: Sequence[str | Path], out: str | Path | None = None, on_progress: OnProgress = ignore) -> Path:
    """Write the page of one or two runs or files of scores; returns its path.

    out: RUN/report.html, or FILE.html beside FILE.parquet, if not given. on_progress: of testing a run whose videos
    were not scored yet. Raises SettingError and DataError, in one line, for what is no run and no scores.
    """
    if not 1 <= len(sources) <= 2:
        raise SettingError(f"report: {len(sources)} runs or score files; expected one, or two to compare")
    for source in sources:
        check_source(source)
    path = check_page(out if out is not None else default_page(sources))
    return write_report([read_subject(source, on_progress) for source in sources], path)


def write_report(subjects: Sequence[Subject], file: Path, mark: str = "") -> Path:
    """Write the page of one or two subjects. mark: what tells its data apart (`timesformer.report.names.data_mark`)."""
    if len(subjects) == 2 and subjects[0].name == subjects[1].name:
        subjects = [_named(subject, number) for number, subject in enumerate(subjects, 1)]
    runs = [(subject.name, subject.run) for subject in subjects if subject.run is not None]
    twice = len(runs) == 2 and runs[0][1].folder.resolve() == runs[1][1].folder.resolve()
    if twice:  # two tests of one run, which is shown once
        runs = runs[:1]
    comparison, problem = _compared(subjects)
    return write_page(
        file,
        "report.html",
        data_mark=mark,
        title=" and ".join(subject.name for subject in subjects),
        subjects=[
            _values(subject, number) | {"repeated": twice and number == 1} for number, subject in enumerate(subjects)
        ],
        charts=learning_curves([run for _, run in runs]),
        drawn=[name for name, _ in runs],
        names=[subject.name for subject in subjects],
        comparison=comparison,
        problem=problem,
        differences=_settings_that_differ(subjects),
        alone=_right_alone(subjects) if comparison else [],
        classes=_classes(subjects),
        several=any(one.analysis is not None and one.analysis.confusion_KK is None for one in subjects),
        commands=_commands(subjects, file),
    )


def _named(subject: Subject, number: int) -> Subject:
    return replace(subject, name=f"{subject.name} ({number})")


def _values(subject: Subject, number: int) -> dict[str, Any]:
    """What the template shows of a subject."""
    run, analysis, record = subject.run, subject.analysis, subject.record
    speed = list(run.speed) if run else []
    if record is not None and analysis is not None and record.seconds:
        rate = len(analysis.result.paths) / record.seconds
        speed += [
            ("Test", f"{rate:.1f} videos a second ({record.seconds:.1f} s)"),
            ("Memory of the test at the peak", size(record.memory)),
            ("Computed by", f"{record.engine}, {record.precision}, on {record.device} ({record.processor})"),
        ]
    return {
        "number": number,
        "name": subject.name,
        "lead": _lead(subject),
        "note": subject.note,
        "run": run,
        "state": run.state if run else None,
        "score": score_text(run) if run else None,
        "what": subject.what,
        "analysis": analysis,
        "scores": _scores(subject),
        "confusion": confusion_table(analysis) if analysis else None,
        "videos": find_videos(subject),
        "speed": speed,
        "record": record,
        "skipped": [(subject.shown(Path(one.path)), one.reason) for one in analysis.result.skipped] if analysis else [],
    }


def _lead(subject: Subject) -> str:
    """What it is, in a line."""
    record, run = subject.record, subject.run
    if record is not None and not (run is not None and subject.is_run):
        return f"A test of {record.weights} on {record.data}, {record.split}, of {record.ended}."
    if run is None:
        return f"Scores of {len(subject.scores.videos) if subject.scores else 0} videos."
    kind = "A training run" if run.folds is None else "A training run of several parts"
    when = f", started {run.sessions[0].get('started', '')}" if run.sessions else ""
    return f"{kind} in {run.folder}{when}."


def _scores(subject: Subject) -> list[Score]:
    analysis = subject.analysis
    if analysis is None:
        return []
    run = subject.run
    floors = dict(run.floors) if run is not None and _of_the_same_videos(run, subject.record) else {}
    if analysis.majority is not None:  # of these very videos
        floors["majority"] = {**floors.get("majority", {}), "top1": analysis.majority[1]}
    return [
        Score(metric_name(name), value, analysis.intervals.get(name), floor_rows(floors, name))
        for name, value in analysis.metrics.items()
    ]


def _of_the_same_videos(run: Run, record: Record | None) -> bool:
    """Whether a test is of the split, of the data, that the floors of a run are of."""
    if record is None:  # the run's own scores
        return True
    split = None if run.result is None else run.result.get("split")
    return (
        record.split == split and run.data is not None and record.resolve(record.data).resolve() == run.data.resolve()
    )


def _compared(subjects: Sequence[Subject]) -> tuple[Comparison | None, str | None]:
    """The paired comparison of two, or why there is none."""
    if len(subjects) < 2:
        return None, None
    first, second = (subject.scores for subject in subjects)
    if first is None or second is None:
        return None, "Only one of the two has scores, so that they cannot be compared video by video."
    try:
        return compare(first, second), None
    except DataError as error:
        return None, f"They cannot be compared video by video: {one_line(error)}."


def _right_alone(subjects: Sequence[Subject]) -> list[tuple[str, str, str, str, int]]:
    """Videos that one of two classifies correctly and the other does not: path, label, what either says, which is
    right."""
    first, second = (subject.analysis.result for subject in subjects if subject.analysis is not None)
    one, other = (subject.scores for subject in subjects if subject.scores is not None)
    if first.labels_B.ndim == 2:
        return []
    rows = same_videos(one, other)
    said_B, others_B = first.scores_BK.argmax(1), second.scores_BK[rows].argmax(1)
    found = []
    for row in ((said_B == first.labels_B) != (others_B == first.labels_B)).nonzero()[:, 0].tolist():
        names = (first.labels[int(number[row])] for number in (first.labels_B, said_B, others_B))
        right = 0 if said_B[row] == first.labels_B[row] else 1
        found.append((subjects[0].shown(first.paths[row]), *names, right))
    return found[:ALONE]  # type: ignore[return-value]


def _classes(subjects: Sequence[Subject]) -> list[tuple[str, list[Any]]]:
    """Each class, and its scores of each subject; None of one that does not have it."""
    tables = [{one.label: one for one in subject.analysis.classes} if subject.analysis else {} for subject in subjects]
    labels = dict.fromkeys(label for table in tables for label in table)
    return [(label, [table.get(label) for table in tables]) for label in labels]


def _settings_that_differ(subjects: Sequence[Subject]) -> list[tuple[str, str, str]]:
    """Dotted names of settings, and what each of two runs has."""
    runs = [subject.run for subject in subjects if subject.run is not None]
    if len(runs) < 2:
        return []
    first, second = (flat(run.recipe) for run in runs)
    names = dict.fromkeys([*first, *second])
    absent = "–"
    pairs = ((name, first.get(name, absent), second.get(name, absent)) for name in names)
    return [(name, str(one), str(other)) for name, one, other in pairs if one != other]


def _commands(subjects: Sequence[Subject], file: Path) -> list[tuple[str, list[str]]]:
    """What repeats each subject, each command once."""
    found = []
    for subject in subjects:
        commands = [*(subject.run.commands if subject.run else ())]
        if subject.record is not None:
            commands.append(repeat(subject.record.command, subject.record.folder))
        found.append((subject.name, list(dict.fromkeys(commands))))
    return found
