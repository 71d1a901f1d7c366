"""`timesformer test`: measure a classifier on a split of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def test(
    weights: Annotated[str, typer.Argument(help="Weights, or the folder of a run.", metavar="WEIGHTS")],
    data: Annotated[Path, typer.Option(help="Folder of the data set.", metavar="DATA")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    clips: Annotated[int | None, typer.Option(min=1, help="Temporal clips; the weights' own if not given.")] = None,
    crops: Annotated[int | None, typer.Option(help="Spatial crops, 1 or 3; the weights' own if not given.")] = None,
    sampling: Annotated[
        str | None, typer.Option(help="span, segments or cover; the weights' own if not given.")
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a clip; tables are resized.")] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Side of a crop, pixels; tables are resized.")] = None,
    position_resize: Annotated[
        str | None, typer.Option(help="How: bicubic, nearest or nearest_flat; the weights' own if not given.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="Class names, one a line.", metavar="FILE")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that decode; one a core if not given.")] = None,
    max_bad_share: Annotated[float, typer.Option(help="Share of unreadable videos over which the test stops.")] = 0.05,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, eager, compile, openvino or onnx.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, or int8 (calibrated on the videos).")] = "fp32",
    out: Annotated[Path | None, typer.Option(help="Scores of every video: *.parquet or *.pkl.", metavar="FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Top-1, top-5 and mean class accuracy; the score of a video is the mean softmax of its views.

    Data and weights of several classes a video: mean average precision, of mean sigmoids."""
    import json

    from rich.console import Console
    from rich.progress import Progress

    from timesformer.config import Data
    from timesformer.data.dataset import Batch
    from timesformer.data.manifest import read_manifest
    from timesformer.evaluation import test as evaluation
    from timesformer.evaluation.protocol import change_protocol
    from timesformer.inference.engine import load_engine
    from timesformer.inference.predictor import some_views
    from timesformer.settings import make
    from timesformer.weights import open_weights

    if out is not None:
        evaluation.check_score_file(out)
    manifest = read_manifest(data, split)
    settings = make(Data, {"workers": workers, "max_bad_share": max_bad_share}, "test")
    classifier = change_protocol(
        open_weights(weights, labels=labels),
        clips=clips,
        crops=crops,
        sampling=sampling,
        frames=frames,
        image_size=image_size,
        position_resize=position_resize,
    )
    manifest = manifest.with_labels(classifier.labels)  # an unknown class is told before an engine is made
    videos = [video.path for video in manifest.videos] if precision == "int8" else []
    network = load_engine(
        classifier,
        engine,
        precision,
        device=device,  # type: ignore[arg-type]
        clips=some_views(videos, classifier),
    )
    errors = Console(stderr=True)
    errors.print(str(network), markup=False, highlight=False, soft_wrap=True)
    # Where there is no terminal, a bar that goes away would leave an empty line.
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("videos", total=len(manifest.videos))

        def on_batch(batch: Batch) -> None:
            progress.advance(task, len(batch.rows_B) + len(batch.problems))
            for problem in batch.problems:
                errors.print(f"left out: {problem.reason}", markup=False, highlight=False, soft_wrap=True)

        result = evaluation.test(classifier, manifest, settings, on_batch, network, network.views)
    if out is not None:
        evaluation.write_scores(result, out)
    summary = result.summary()
    if as_json:
        print(json.dumps(summary))
        return
    shown = {
        "top1": "top-1",
        "top5": "top-5",
        "mean_class_accuracy": "mean class accuracy",
        "mean_average_precision": "mean average precision",
    }
    for name, text in shown.items():
        if name in summary and (name != "top5" or len(result.labels) > 5):
            print(f"{text:23}{summary[name]:.4f}")
    print(f"videos                 {summary['videos']}, left out {summary['left_out']}")
    if out is not None:
        print(f"scores                 {out}")
