"""`timesformer demo`: end to end, from video files to predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import Threads
from timesformer.threads import use_threads


def demo(
    out: Annotated[Path, typer.Option(help="Folder of all results; an earlier demo in it is replaced.")] = Path(
        "runs/demo"
    ),
    threads: Threads = None,
) -> None:
    """Write videos whose classes differ only in motion, train a tiny TimeSformer, test it, and predict."""
    from rich.console import Console

    from timesformer.demo import run_demo

    use_threads(threads)
    run_demo(out, Console(highlight=False, soft_wrap=True))
