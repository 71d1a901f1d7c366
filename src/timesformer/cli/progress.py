"""What `test` and `predict` say on standard error while they run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timesformer.evaluation.evaluate import Progress


@contextmanager
def video_progress(bar: bool = True) -> Iterator[Callable[[Progress], None]]:
    """Gives a function to call when the engine is ready and after each video: it prints the engine, a bar of the videos
    on a terminal (where `bar` is true), and a line for each video that cannot be read."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    errors = Console(stderr=True, highlight=False)
    columns = (TextColumn("videos"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    # Where there is no terminal, a bar that disappears would leave an empty line.
    # What is printed on standard output stays there: rich would print it above the bar, on standard error.
    disabled = not (bar and errors.is_terminal)
    shown = Bar(*columns, console=errors, transient=True, disable=disabled, redirect_stdout=False)
    task = shown.add_task("videos", total=None, rate="")
    began = 0.0

    def show(progress: Progress) -> None:
        nonlocal began
        if not progress.done:
            errors.print(str(progress.engine), markup=False, soft_wrap=True)
            shown.start()
            began = time.perf_counter()
        rate = progress.done / max(time.perf_counter() - began, 1e-9)
        shown.update(task, completed=progress.done, total=progress.total, rate=f"{rate:.2f} videos/s")
        for problem in progress.problems:
            errors.print(f"skipped: {problem}", markup=False, soft_wrap=True)

    try:
        yield show
    finally:
        shown.stop()
