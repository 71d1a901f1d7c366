"""`timesformer test`: evaluate a classifier on a split of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import (
    DataFolder,
    Device,
    Engine,
    Json,
    Labels,
    MaxBadFraction,
    Precision,
    Report,
    Threads,
    Weights,
    Workers,
)
from timesformer.cli.progress import video_progress
from timesformer.threads import use_threads


def test(
    weights: Weights,
    data: DataFolder,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    clips: Annotated[int | None, typer.Option(min=1, help="Temporal clips; the weights' own if not given.")] = None,
    crops: Annotated[int | None, typer.Option(help="Spatial crops, 1 or 3; the weights' own if not given.")] = None,
    sampling: Annotated[
        str | None, typer.Option(help="span, segments or cover; the weights' own if not given.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a clip; position tables are resized.")] = None,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side of a crop, pixels; position tables are resized.")
    ] = None,
    position_resize: Annotated[
        str | None,
        typer.Option(
            help="How tables are resized: bicubic, nearest or nearest_flat; the weights' own way if not given."
        ),
    ] = None,
    labels: Labels = None,
    workers: Workers = None,
    max_bad_fraction: MaxBadFraction = 0.05,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    top_k: Annotated[
        str | None, typer.Option("--top-k", help="Numbers k of a top-k each, such as 1,3,10.", metavar="K,...")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Column of the list; the score by each of its values.", metavar="COLUMN")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Column of the list, such as a person; intervals are over its groups.", metavar="COLUMN"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Scores of every video: *.parquet, *.csv, *.pkl or *.mmaction2.pkl.", metavar="FILE"),
    ] = None,
    details: Annotated[
        Path | None,
        typer.Option(
            help="New folder for tables of classes, confusions, mistakes and calibration, and pictures.",
            metavar="FOLDER",
        ),
    ] = None,
    report: Report = True,
    as_json: Json = False,
) -> None:
    """Test weights on a split: scores with 95% intervals, calibration, and where the mistakes are.

    Top-1, top-5 (of more than five classes), mean class accuracy and AUC (of two); the score of a video is the mean
    softmax of its views.

    Data and weights with several classes a video: mean average precision, of mean sigmoids."""
    import sys

    from rich.console import Console

    from timesformer.cli.reports import write_at_end
    from timesformer.data.manifest import read_manifest
    from timesformer.evaluation.analysis import analyse, check_top_k
    from timesformer.evaluation.columns import Column
    from timesformer.evaluation.details import check_details, write_details
    from timesformer.evaluation.evaluate import evaluate
    from timesformer.evaluation.record import Stopwatch, record_test
    from timesformer.evaluation.score_files import Scores, check_score_file, write_scores
    from timesformer.evaluation.table import analysis_table
    from timesformer.files import as_json as to_json
    from timesformer.report.names import data_mark, page_of_test

    use_threads(threads)
    numbers = _numbers(top_k)
    if out is not None:
        check_score_file(out)
    if details is not None:
        check_details(details)
    manifest = read_manifest(data, split) if by or group or numbers else None
    if manifest:
        check_top_k(numbers, multilabel=manifest.multilabel)
    parts = Column(manifest, by, "scores by a column") if manifest and by else None
    grouped = Column(manifest, group, "groups", group=True) if manifest and group else None
    protocol = {
        "clips": clips,
        "crops": crops,
        "sampling": sampling,
        "frames": frames,
        "image_size": image_size,
        "position_resize": position_resize,
    }
    with video_progress() as show:
        watch = Stopwatch(show)
        result = evaluate(
            weights,
            data,
            split=split,
            **protocol,  # type: ignore[arg-type]
            labels=labels,
            engine=engine,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            device=device,
            workers=workers,
            max_bad_fraction=max_bad_fraction,
            on_progress=watch,
        )
    if not result.first_process:
        return
    record = record_test(result, weights, data, split, watch, protocol)
    groups = grouped.of(result.paths) if grouped else None
    analysis = analyse(result, top_k=numbers, groups=groups, by=(parts.name, parts.of(result.paths)) if parts else None)
    if out is not None:
        write_scores(result, out, groups, record)
    if details is not None:
        write_details(analysis, details)
    if as_json:
        print(to_json(analysis.as_dict()), flush=True)
    else:
        for line in analysis_table(analysis, data, Console().width):
            print(line)
        groups_too = "" if analysis.groups is None else f" in {analysis.groups} groups"
        print(f"videos                 {len(result.paths)}{groups_too}, skipped {len(result.skipped)}")
        print(f"engine                 {result.engine}, {result.precision}")
        if out is not None:
            print(f"scores                 {out}")
        if details is not None:
            print(f"details                {details}")
        sys.stdout.flush()  # what was found is there, whatever happens to the report
    path = page_of_test(weights, data, split, out) if report else None
    if path is None:
        return

    def write() -> Path:
        from timesformer.report.report import write_report
        from timesformer.report.subject import subject_of_scores

        name = f"{Path(weights).resolve().name}, {split}" if out is None else out.name
        scores = Scores.of(result, groups, record)
        return write_report([subject_of_scores(scores, name, analysis)], path, data_mark(data) if out is None else "")

    page = write_at_end(write)
    if page is not None:  # standard output has one JSON object and nothing else
        print(f"report                 {page}", file=sys.stderr if as_json else None)


def _numbers(top_k: str | None) -> list[int]:
    """The numbers of --top-k."""
    from timesformer.errors import SettingError

    numbers = [] if top_k is None else [part.strip() for part in top_k.split(",")]
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise SettingError(f"--top-k {top_k}: expected numbers of at least 1, such as 1,3,10")
    return [int(number) for number in numbers]
