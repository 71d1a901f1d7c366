"""How measurements are shown while they run, and printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timesformer.bench.limit import Speed
    from timesformer.bench.timing import Spread


@contextmanager
def progress_bar(unit: str | None, total: int | None) -> Iterator[Callable[..., None]]:
    """A bar that disappears at the end, only on a terminal; gives a function that advances it, or sets its count and
    its text."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    counted = (BarColumn(), MofNCompleteColumn()) if unit else ()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), *counted, TimeElapsedColumn())
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(unit or "measuring", total=total)

        def advance(done: int | None = None, text: str | None = None) -> None:
            if done is None:
                progress.advance(task)
            else:
                progress.update(task, completed=done, description=text)

        yield advance


def print_json(values: Any) -> None:
    """One line of JSON."""
    print(json.dumps(values))


def print_lines(title: str, lines: list[tuple[str, str]]) -> None:
    """A title, then names and texts in two columns."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(Column(style="bold"), Column(overflow="fold"), box=None, pad_edge=False, show_header=False)
    for name, text in lines:
        table.add_row(name, Text(text))
    console = Console(highlight=False)
    console.print(Text(title))
    console.print(table)


def print_speed(speed: Speed, title: str, what: str, lines: list[tuple[str, str]]) -> None:
    """A speed beside that of its matrix products, then further lines. what: what was timed, such as "a step"."""
    batch, _, frames, rows, columns = speed.clips

    def milliseconds(spread: Spread) -> str:
        return f"{spread.median * 1e3:.1f} ms ({spread.low * 1e3:.1f} to {spread.high * 1e3:.1f})"

    whose = "while it runs" if speed.memory_alone else "of the process since its start"
    print_lines(
        f"{title}, {batch} x {frames} x {rows} x {columns}, {speed.rounds} rounds",
        [
            (what, milliseconds(speed.seconds)),
            ("clips/s", f"{speed.clips_per_second:.3g}"),
            (
                "GMAC/s",
                f"{speed.macs_per_second / 1e9:.0f}, for {speed.macs / 1e9:.1f} GMAC; {speed.fraction_of_peak:.0%} of "
                f"the {speed.peak / 1e9:.0f} of the best product",
            ),
            ("products alone", f"{milliseconds(speed.limit)}; {speed.fraction:.0%} of the time of {what}"),
            ("memory", f"{speed.memory / 1e9:.2f} GB at the peak, {whose}"),
            *lines,
        ],
    )
