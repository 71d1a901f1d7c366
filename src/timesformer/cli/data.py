"""`timesformer data`: make data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make data sets.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Make data sets."""


@app.command()
def motion(
    out: Annotated[Path, typer.Argument(help="A new or empty folder.", metavar="OUT")],
    train: Annotated[int, typer.Option(min=1, help="Training clips of each class.")] = 240,
    val: Annotated[int, typer.Option(min=1, help="Validation clips of each class.")] = 20,
    test: Annotated[int, typer.Option(min=1, help="Test clips of each class.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all clips.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that write.")] = 2,
) -> None:
    """Write h264 clips of eight classes that differ in motion alone."""
    from rich.progress import Progress

    from timesformer.data.motion import CLASSES, write_motion_data

    counts = {"train": train, "val": val, "test": test}
    with Progress(transient=True) as progress:
        task = progress.add_task("writing clips", total=sum(counts.values()) * len(CLASSES))
        files = write_motion_data(out, counts, seed=seed, jobs=jobs, on_clip=lambda: progress.advance(task))
    print(f"{out}: {files} clips of {len(CLASSES)} classes: {', '.join(CLASSES)}")
