"""`timesformer bench video`: files to clips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timesformer.cli.bench.printing import print_json, print_lines, progress_bar
from timesformer.cli.options import Json

if TYPE_CHECKING:
    from timesformer.bench.video import Rate


def video(
    videos: Annotated[
        list[Path],
        typer.Argument(help="Video files, folders of videos, folders of image frames.", metavar="VIDEO|FOLDER..."),
    ],
    frames: Annotated[int, typer.Option(help="Frames of a clip.")] = 8,
    image_size: Annotated[int, typer.Option(help="Side of a crop and short side of a frame, pixels.")] = 224,
    sampling: Annotated[str, typer.Option(help="span, segments or cover.")] = "span",
    rate: Annotated[float, typer.Option(help="Frames of the video between two of a clip (span, cover).")] = 32,
    clips: Annotated[int, typer.Option(help="Clips of a video (not for cover).")] = 1,
    crops: Annotated[int, typer.Option(help="Crops of a clip, 1 or 3.")] = 3,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core if not given, 0 for none.")] = None,
    rounds: Annotated[int, typer.Option(help="Passes over all videos.")] = 3,
    as_json: Json = False,
) -> None:
    """Read videos as a test does: in one process, with the time of each part, and in worker processes."""
    from timesformer.bench.video import measure_videos

    with progress_bar("passes", None) as advance:
        found = measure_videos(
            videos,
            frames=frames,
            image_size=image_size,
            sampling=sampling,
            rate=rate,
            clips=clips,
            crops=crops,
            workers=workers,
            rounds=rounds,
            on_pass=advance,
        )
    if as_json:
        print_json(found.as_dict())
        return
    parts = (
        f"decoding {found.decoding:.0%}, resizing and RGB {found.resizing:.0%}, "
        f"opening {found.opening:.0%}, crops {found.cropping:.0%}"
    )
    lines = [("one process", _rate(found.alone)), ("of its time", parts)]
    if found.together is not None:
        lines.append((f"{found.workers} worker{'s'[: found.workers != 1]}", _rate(found.together)))
    if found.problems:
        lines.append(("skipped", f"{len(found.problems)} that cannot be read; the first: {found.problems[0]}"))
    title = (
        f"{found.videos} videos, {found.clips} clips of {found.frames} frames at {found.image_size} pixels, "
        f"crops {found.crops}"
    )
    print_lines(title, lines)


def _rate(rate: Rate) -> str:
    return (
        f"{rate.videos_per_second:.1f} videos/s, {rate.clips_per_second:.1f} clips/s, {rate.ms_per_clip:.1f} ms a clip"
    )
