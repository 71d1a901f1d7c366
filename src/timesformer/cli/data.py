"""`timesformer data`: check data sets, split them, make one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import Json

app = typer.Typer(help="Check data sets, split them, and make one.", no_args_is_help=True)


@app.callback()
def data() -> None:
    """Check data sets, split them, and make one."""


@app.command()
def motion(
    out: Annotated[Path, typer.Argument(help="A new or empty folder.", metavar="OUT")],
    train: Annotated[int, typer.Option(min=1, help="Training clips of each class.")] = 240,
    val: Annotated[int, typer.Option(min=1, help="Validation clips of each class.")] = 20,
    test: Annotated[int, typer.Option(min=1, help="Test clips of each class.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all clips.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that encode.")] = 2,
) -> None:
    """Write h264 clips of eight classes that differ only in motion."""
    from rich.console import Console
    from rich.progress import Progress

    from timesformer.data.motion import CLASSES, write_motion_data

    counts = {"train": train, "val": val, "test": test}
    console = Console()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("writing clips", total=sum(counts.values()) * len(CLASSES))
        files = write_motion_data(out, counts, seed=seed, workers=workers, on_clip=lambda: progress.advance(task))
    print(f"{out}: {files} clips of {len(CLASSES)} classes: {', '.join(CLASSES)}")


@app.command()
def check(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder of the data set; or of class folders, or one CSV with path,label, that is not split yet.",
            metavar="DATA",
        ),
    ],
    by: Annotated[
        str | None, typer.Option(help="Column of the CSV lists whose groups should not cross splits.", metavar="COLUMN")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that decode; one a core if not given.")] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds that a file may take.")] = 120,
    out: Annotated[
        Path | None, typer.Option(help="Where unreadable files are listed, not DATA/quarantine.csv.", metavar="FILE")
    ] = None,
    as_json: Json = False,
) -> None:
    """Decode every file once: what cannot be read, counts, duplicates, leaks between splits.

    Exits with 1 if a list or a file cannot be read.

    Files that cannot be read are written to DATA/quarantine.csv; training and testing skip them.
    """
    import json

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from timesformer.data.check import check_data

    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("decoding", total=None)
        report = check_data(
            data,
            out=out,
            by=by,
            workers=workers,
            time_limit=time_limit,
            on_file=lambda done, total: progress.update(task, completed=done, total=total),
        )
    print(json.dumps(report.summary()) if as_json else report)
    if not report.sound:
        raise typer.Exit(1)


@app.command()
def split(
    source: Annotated[
        Path, typer.Argument(help="Folder of class folders, or a CSV with path,label and others.", metavar="DATA")
    ],
    by: Annotated[
        str, typer.Option(help="random, or the column of the CSV whose groups stay whole.", metavar="random|COLUMN")
    ] = "random",
    test: Annotated[float | None, typer.Option(help="Fraction to test on; 0.2 if not given.")] = None,
    val: Annotated[float, typer.Option(help="Fraction to validate on.")] = 0.0,
    folds: Annotated[int | None, typer.Option(help="Instead of --test: folders fold1, fold2, ... in OUT.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides how videos are split.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the lists; where the data are, if not given.", metavar="OUT")
    ] = None,
) -> None:
    """Write train.csv, val.csv and test.csv: classes alike in all parts, groups whole.

    Each folder of lists is DATA for every other command.
    """
    from timesformer.data.split import split_data

    done = split_data(source, out, by=by, test=test, val=val, folds=folds, seed=seed)
    for folder, counts in done.lists.items():
        print(f"{folder}: {', '.join(f'{part} {count}' for part, count in counts.items())}")
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
