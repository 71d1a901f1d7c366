"""What `test`, `predict` and `timeline` say on standard error while they run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from timesformer.cli.lines import say

if TYPE_CHECKING:
    from timesformer.evaluation.evaluate import Progress
    from timesformer.inference.timeline_job import TimelineProgress
    from timesformer.scale.ray_batch import Progress as RayProgress

EVERY = 60  # seconds between lines where there is no terminal


@contextmanager
def video_progress(bar: bool = True) -> Iterator[Callable[[Progress | RayProgress], None]]:
    """Gives a function to call when the engine is ready and after each video: it prints the engine, how many videos
    were done before, a bar of the videos on a terminal (where `bar` is true) and elsewhere a line a minute, and a line
    for each video that cannot be read."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    errors = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("videos"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    # Where there is no terminal, a bar that disappears would leave an empty line.
    # What is printed on standard output stays there: rich would print it above the bar, on standard error.
    disabled = not (bar and errors.is_terminal)
    shown = Bar(*columns, console=errors, transient=True, disable=disabled, redirect_stdout=False)
    task = shown.add_task("videos", total=None, rate="")
    first, began = None, 0.0  # videos that were done before, and when those of now began
    said = 0.0  # when the last line said how far it is

    def show(progress: Progress | RayProgress) -> None:
        nonlocal first, began, said
        if first is None:
            say(progress.engine, console=errors)
            first, began = progress.done, time.perf_counter()
            said = began
            if first:
                say(f"resumed: {first} of {progress.total} videos are done", console=errors)
            shown.reset(task, total=progress.total, completed=first, rate="")
            shown.start()
            return
        now = time.perf_counter()
        rate = f"{(progress.done - first) / max(now - began, 1e-9):.2f} videos/s"
        shown.update(task, completed=progress.done, total=progress.total, rate=rate)
        if not errors.is_terminal and now - said > EVERY:
            said = now
            seconds = (now - began) / max(progress.done - first, 1) * (progress.total - progress.done)
            left = f", {timedelta(seconds=round(seconds))} left" if seconds else ""
            errors.print(f"progress: {progress.done} of {progress.total} videos, {rate}{left}", soft_wrap=True)
        for problem in progress.problems:
            say(f"skipped: {problem}", console=errors)

    try:
        yield show
    finally:
        shown.stop()


@contextmanager
def timeline_progress(bar: bool = True) -> Iterator[Callable[[TimelineProgress], None]]:
    """Gives a function to call at the beginning of a video and after each row: it shows a bar of the seconds of each
    video, with how many times real time they take, on a terminal (where `bar` is true), and elsewhere a line a minute;
    and a line for each video that cannot be read, or no further."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from timesformer.cli.window_lines import clock

    errors = Console(stderr=True, highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),  # a file name may look like markup
        BarColumn(bar_width=20),
        TextColumn("{task.fields[place]}"),
        TimeRemainingColumn(),
    )
    disabled = not (bar and errors.is_terminal)
    shown = Bar(*columns, console=errors, transient=True, disable=disabled, redirect_stdout=False)
    task = shown.add_task("", total=None, place="")
    video, began, said = None, 0.0, time.perf_counter()

    def show(progress: TimelineProgress) -> None:
        nonlocal video, began, said
        now = time.perf_counter()
        if progress.video != video:
            video, began = progress.video, now
            shown.reset(task, total=progress.total - progress.resumed_at, completed=0, description=_short(video))
            shown.start()
        factor = (progress.done - progress.resumed_at) / max(now - began, 1e-9)
        place = f"{clock(progress.done, 0)} of {clock(progress.total, 0)}, {factor:.1f}x"
        shown.update(task, completed=progress.done - progress.resumed_at, place=place)
        if not errors.is_terminal and now - said > EVERY:
            said = now
            errors.print(f"progress: {video}, {place.replace('x', ' times real time')}", markup=False, soft_wrap=True)
        if progress.problem is not None:
            say(f"skipped: {progress.problem}", console=errors)

    try:
        yield show
    finally:
        shown.stop()


def _short(name: str, length: int = 24) -> str:
    """The end of a name."""
    return name if len(name) <= length else "…" + name[1 - length :]


@contextmanager
def counted(noun: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function to call with how many are done and how many there are: it draws a bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    errors = Console(stderr=True, highlight=False)
    columns = (TextColumn(noun), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as shown:
        task = shown.add_task(noun, total=None, visible=False)
        yield lambda done, total: shown.update(task, completed=done, total=total, visible=True)
