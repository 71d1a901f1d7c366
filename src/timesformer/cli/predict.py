"""`timesformer predict`: name what happens in videos."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    weights: Annotated[str, typer.Argument(help="Weights, or the folder of a run.", metavar="WEIGHTS")],
    videos: Annotated[list[Path], typer.Argument(help="Video files, folders of videos, folders of image frames.",
                                                 metavar="VIDEO|FOLDER...")],
    top: Annotated[int, typer.Option(min=1, help="Classes to print a video.")] = 5,
    labels: Annotated[Path | None, typer.Option(help="Class names, one a line.", metavar="FILE")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # fmt: skip
    """The best classes of every video, with scores between 0 and 1."""
    import json

    from rich.console import Console
    from rich.table import Table

    from timesformer.data.manifest import find_videos
    from timesformer.errors import VideoError
    from timesformer.inference.predictor import Prediction, load

    paths: list[Path] = []
    for video in videos:
        found = find_videos(video) if video.is_dir() else [video]
        if not found:
            raise VideoError(f"{video}: the folder holds no videos or image frames")
        paths += found
    predictor = load(weights, device, labels=labels)
    results: list[tuple[Path, list[Prediction]]] = []
    problems: list[str] = []
    for path in paths:
        try:
            results.append((path, predictor.predict(path, top)))
        except VideoError as error:
            problems.append(str(error))
    if as_json:
        print(json.dumps([{"video": str(path), "predictions": [prediction._asdict() for prediction in predictions]}
                          for path, predictions in results], ensure_ascii=False))  # fmt: skip
    elif results:
        table = Table("video", "label", "score", box=None, pad_edge=False)
        for path, predictions in results:
            for rank, (label, score) in enumerate(predictions):
                table.add_row("" if rank else str(path), label, f"{score:.3f}")
        Console().print(table, markup=False)
    if problems:
        raise VideoError(f"{len(problems)} of {len(paths)} videos cannot be read: {'; '.join(problems[:3])}")
