"""`timesformer test`: evaluate a classifier on a split of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import Device, Engine, Json, Labels, Precision, Weights
from timesformer.cli.progress import video_progress

NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_class_accuracy": "mean class accuracy",
    "mean_average_precision": "mean average precision",
}


def test(
    weights: Weights,
    data: Annotated[Path, typer.Option(help="Folder of the data set.", metavar="DATA")],
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
    workers: Annotated[int | None, typer.Option(help="Processes that decode; one a core if not given.")] = None,
    max_bad_fraction: Annotated[
        float, typer.Option(help="Fraction of unreadable videos over which the test stops.")
    ] = 0.05,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "fp32",
    out: Annotated[Path | None, typer.Option(help="Scores of every video: *.parquet or *.pkl.", metavar="FILE")] = None,
    as_json: Json = False,
) -> None:
    """Top-1, top-5 and mean class accuracy; the score of a video is the mean softmax of its views.

    Data and weights with several classes a video: mean average precision, of mean sigmoids."""
    import json

    from timesformer.evaluation.evaluate import evaluate
    from timesformer.evaluation.score_files import check_score_file, write_scores

    if out is not None:
        check_score_file(out)
    with video_progress() as show:
        result = evaluate(
            weights,
            data,
            split=split,
            clips=clips,
            crops=crops,
            sampling=sampling,
            frames=frames,
            image_size=image_size,
            position_resize=position_resize,
            labels=labels,
            engine=engine,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            device=device,
            workers=workers,
            max_bad_fraction=max_bad_fraction,
            on_progress=show,
        )
    if out is not None:
        write_scores(result, out)
    summary = result.summary()
    if as_json:
        print(json.dumps(summary))
        return
    for name, text in NAMES.items():
        if name in summary and (name != "top5" or len(result.labels) > 5):
            print(f"{text:23}{summary[name]:.4f}")
    print(f"videos                 {summary['videos']}, skipped {summary['skipped']}")
    if out is not None:
        print(f"scores                 {out}")
