"""Lines for people: wrapped at the width of a terminal, whole in a file or a pipe, where programs may read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def say(text: object, *, err: bool = False, console: Console | None = None) -> None:
    """Print a line, on standard error with `err`, or on a console that is there already."""
    from rich.console import Console

    console = console or Console(stderr=err, highlight=False)
    console.print(str(text), markup=False, highlight=False, soft_wrap=not console.is_terminal)
