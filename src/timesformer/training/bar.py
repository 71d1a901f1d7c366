"""The bar of a run on a terminal: what it is at, in words, and the time that is left of it."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def make_bar(console: Console) -> Progress:
    """A bar whose task's description is what a run is at. It disappears when it stops.

    It draws nothing on a console that prints nothing or is no terminal, where it would leave an empty line and, worse,
    send what other code prints the same way.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(None),  # as wide as the line leaves it
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        expand=True,
        disable=console.quiet or not console.is_terminal,
    )


def counted(number: int, total: int) -> str:
    """`3/15`, as wide for every number."""
    return f"{number:{len(str(total))}}/{total}"
