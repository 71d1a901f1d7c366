"""`timesformer predict`: name what happens in videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HEADER = ("video", "label", "score")


def predict(
    weights: Annotated[str, typer.Argument(help="Weights, or the folder of a run.", metavar="WEIGHTS")],
    videos: Annotated[list[Path], typer.Argument(help="Video files, folders of videos, folders of image frames.",
                                                 metavar="VIDEO|FOLDER...")],
    top: Annotated[int, typer.Option(min=1, help="Classes to print a video.")] = 5,
    labels: Annotated[Path | None, typer.Option(help="Class names, one a line.", metavar="FILE")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # fmt: skip
    """The best classes of every video, with scores between 0 and 1; where no terminal reads, fields parted by tabs."""
    import json

    from rich.console import Console
    from rich.table import Column, Table

    from timesformer.errors import VideoError
    from timesformer.inference.predictor import gather_videos, load

    paths = gather_videos(videos)
    found = load(weights, device, labels=labels).predict_all(paths, top)
    console = Console(highlight=False)
    if as_json:
        print(json.dumps([{"video": str(path), "predictions": [prediction._asdict() for prediction in predictions]}
                          for path, predictions in found.predictions], ensure_ascii=False))  # fmt: skip
    elif found.predictions and console.is_terminal:
        table = Table(*(Column(name, overflow="fold") for name in HEADER), box=None, pad_edge=False)
        for path, predictions in found.predictions:
            for rank, (label, score) in enumerate(predictions):
                table.add_row("" if rank else str(path), label, f"{score:.3f}")
        console.print(table, markup=False)
    elif found.predictions:
        print(*HEADER, sep="\t")
        for path, predictions in found.predictions:
            for label, score in predictions:
                print(path, label, f"{score:.3f}", sep="\t")
    if found.problems:
        first = "; ".join(problem.reason for problem in found.problems[:3])
        raise VideoError(f"{len(found.problems)} of {len(paths)} videos cannot be read: {first}")
