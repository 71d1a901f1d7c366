"""`timesformer demo`: end to end, from video files to predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import Report, Threads
from timesformer.threads import use_threads


def demo(
    out: Annotated[Path, typer.Option(help="Folder of all results; an earlier demo in it is replaced.")] = Path(
        "runs/demo"
    ),
    report: Report = True,
    threads: Threads = None,
) -> None:
    """Write videos whose classes differ only in motion, train a tiny TimeSformer, test it, and predict."""
    from rich.console import Console

    from timesformer.cli.reports import write_at_end
    from timesformer.demo import run_demo

    use_threads(threads)
    run_demo(out, Console(highlight=False, soft_wrap=True))
    if report:
        from timesformer.report.report import report as write

        page = write_at_end(lambda: write([out / "scores.parquet"]))
        if page is not None:
            print(f"Report: {page}")
