"""`timesformer demo`: the whole way, from video files to the name of what a new video shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder of all results; an earlier demo in it is replaced.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Write videos that differ in motion alone, train a tiny TimeSformer, test it, predict, play one backwards."""
    from rich.console import Console

    from timesformer.demo import run_demo

    run_demo(out, Console(highlight=False, soft_wrap=True))
