"""`timesformer report`: one page of a run or a test, or of two side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import Threads
from timesformer.cli.progress import video_progress
from timesformer.threads import use_threads


def report(
    first: Annotated[Path, typer.Argument(help="A run, or scores of `timesformer test --out`.", metavar="RUN|SCORES")],
    second: Annotated[Path | None, typer.Argument(help="Another one, to compare.", metavar="[RUN|SCORES]")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page; RUN/report.html or SCORES.html if not given.", metavar="FILE.html"),
    ] = None,
    threads: Threads = None,
) -> None:
    """Write one HTML file for people of a run or a test, or of two side by side.

    What was trained, curves, scores with intervals, confusions, classes, the best and the worst videos with what the
    model looked at, labels to check.

    A run whose videos were not scored yet is tested on those that validate it."""
    from timesformer.report.report import report as write

    use_threads(threads)
    sources = [first] if second is None else [first, second]
    with video_progress() as show:
        page = write(sources, out, show)
    print(page)
