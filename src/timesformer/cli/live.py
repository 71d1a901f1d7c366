"""What `timesformer timeline` does with a live stream."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from timesformer.cli.lines import say
from timesformer.cli.progress import EVERY
from timesformer.cli.stop import finishing
from timesformer.cli.window_lines import clock
from timesformer.errors import SettingError

if TYPE_CHECKING:
    from timesformer.cli.answers import Printed
    from timesformer.inference.live_job import LiveJob
    from timesformer.inference.predictor import Predictor
    from timesformer.inference.rows import Row
    from timesformer.video.live_input import Capture

Live = Annotated[
    bool, typer.Option("--live", help="Read a URL as a live stream, whatever length its server or its header says.")
]
Size = Annotated[
    str | None, typer.Option(help="Of a camera's frames, or of raw video on standard input.", metavar="WIDTHxHEIGHT")
]
Fps = Annotated[float | None, typer.Option(help="Frames a second, likewise.")]
PixelFormat = Annotated[
    str | None, typer.Option(help="FFmpeg's name, likewise, such as rgb24 or yuv420p.", metavar="NAME")
]


def is_live(videos: list[str], live: bool) -> bool:
    """Whether videos are one live stream. Raises SettingError for --live with several, VideoError for a server that
    does not answer."""
    from timesformer.video.live_input import live_kind

    if live and len(videos) != 1:
        raise SettingError(f"--live: {len(videos)} videos; a live stream is read alone")
    return live or (len(videos) == 1 and live_kind(videos[0]) is not None)


def capture_of(size: str | None, fps: float | None, pixel_format: str | None) -> Capture:
    """What these options ask of a camera, or say of raw video."""
    from timesformer.video.live_input import Capture

    found = re.fullmatch(r"([0-9]+)x([0-9]+)", size or "")
    if size is not None and not found:
        raise SettingError(f"--size {size}: expected WIDTHxHEIGHT, such as 640x480")
    return Capture(found and (int(found[1]), int(found[2])), fps, pixel_format)


def follow(job: LiveJob, predictor: Predictor, printed: Printed, *, quiet: bool) -> None:
    """Print the rows of a live stream as they come, and in the end how it went; `quiet`: only a line of how far it is.

    Raises VideoError for a stream that never starts, and when one was lost.
    """
    try:
        with _status(job, quiet) as show, closing(job.run(predictor, finishing=finishing)) as rows:
            for row in rows:
                printed.add(row)
                show(row)
        printed.end()
    finally:
        if job.report is not None:
            say(f"live: {job.report}", err=True)
    if job.resumed is not None:
        say(f"live: the file is complete with the {job.resumed.windows} windows that it had", err=True)
    if job.problem is not None:
        raise job.problem


@contextmanager
def _status(job: LiveJob, quiet: bool) -> Iterator[Callable[[Row], None]]:
    """Gives a function to call after each row: on a terminal that has no rows it shows how far the stream is, elsewhere
    a line a minute does."""
    from rich.console import Console

    errors = Console(stderr=True, highlight=False)
    status = errors.status("waiting for the first window") if quiet and errors.is_terminal else None
    said = time.monotonic()

    def show(row: Row) -> None:
        nonlocal said
        if "end_s" not in row or job.report is None:
            return
        place = f"{clock(row['end_s'], 0)}, {job.report.dropped} frames dropped"
        if status is not None:
            status.update(f"{place}, now {row['label']}".replace("[", r"\["))
        elif not errors.is_terminal and time.monotonic() - said > EVERY:
            said = time.monotonic()
            errors.print(f"progress: {job.name}, {place}", markup=False, soft_wrap=True)

    if status is None:
        yield show
    else:
        with status:
            yield show
