"""`timesformer predict`: classify videos."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timesformer.cli import on_ray
from timesformer.cli.answers import Array, JsonLines, Nothing, Printed, Table, Tabs
from timesformer.cli.lines import say
from timesformer.cli.options import Device, End, Engine, Labels, Precision, Start, Threads, Weights, Workers
from timesformer.cli.progress import video_progress
from timesformer.cli.sources import sources_of
from timesformer.threads import use_threads

if TYPE_CHECKING:
    from timesformer.inference.listed import ListedVideos
    from timesformer.inference.rows import Tally
    from timesformer.video.source import Source

Videos = Annotated[
    list[str] | None,
    typer.Argument(
        help="Video files, folders of videos, folders of image frames, URLs; - for standard input.",
        metavar="VIDEO|FOLDER|URL...",
    ),
]


def predict(
    weights: Weights,
    videos: Videos = None,
    listed: Annotated[
        str | None,
        typer.Option("--list", help="File of paths and URLs, one a line; - for standard input.", metavar="FILE|-"),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Part I of N of the videos, I from 1 to N, by the SHA-256 of each path.", metavar="I/N"),
    ] = None,
    start: Start = None,
    end: End = None,
    whole: Annotated[bool, typer.Option("--whole", help="Mean over windows that cover the video.")] = False,
    top: Annotated[int, typer.Option(min=1, help="Classes to print a video.")] = 5,
    threshold: Annotated[
        float, typer.Option(help='Lowest score, 0 to 1, of a class; where none has it: "unknown".', metavar="SCORE")
    ] = 0.0,
    labels: Labels = None,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    workers: Workers = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array at the end.")] = False,
    out: Annotated[
        str | None,
        typer.Option(
            help="Rows of all videos: *.jsonl, *.csv or *.parquet; - prints JSON Lines as they become known.",
            metavar="FILE|-",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the rows that --out FILE has.")] = False,
    on: on_ray.On = None,
    address: on_ray.Address = None,
    manifest: on_ray.ManifestFile = None,
    gpus: on_ray.Gpus = None,
    retries: on_ray.Retries = None,
    time_limit: on_ray.TimeLimit = None,
    memory_limit: on_ray.MemoryLimit = None,
) -> None:
    """The best classes of every video, with scores between 0 and 1.

    A table on a terminal; elsewhere fields separated by tabs. Exits with 2 if a video cannot be read.
    """
    from rich.console import Console

    from timesformer.errors import DataError, SettingError
    from timesformer.inference.jobs import PredictionJob
    from timesformer.inference.load import load

    given = on_ray.RayOptions(on, address, manifest, gpus, retries, time_limit, memory_limit)
    if given.wanted(resume=resume, refused={"--json": as_json}):
        from timesformer.scale.work import Prediction

        on_ray.run(
            given,
            Prediction(top, start, end, whole, threshold),
            partial(_find_listed, videos or [], listed) if videos or listed else None,
            out,
            weights=weights,
            device=device,
            engine=engine,
            precision=precision,
            labels=labels,
            threads=threads,
            workers=workers,
            shard=shard,
            threshold=threshold,
        )
        return
    use_threads(threads)
    file = None if out in (None, "-") else Path(str(out))
    if out and as_json:
        raise SettingError(f"--json and --out {out}: expected one of them")
    if resume and file is None:
        raise SettingError("--resume requires --out FILE")
    sources, names = _find(videos or [], listed)
    job = PredictionJob(sources, file, names=names, shard=shard, resume=resume, start=start, end=end, whole=whole)
    predictor = load(
        weights,
        device,
        labels=labels,
        engine=engine,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        calibration=sources if precision == "int8" else (),
        threshold=threshold,
    )
    console = Console(highlight=False)
    printed: Printed = Array() if as_json else Table(console) if console.is_terminal else Tabs()
    printed = Nothing() if file else JsonLines() if out else printed
    began = time.perf_counter()
    # Rows on a terminal would go through the bar.
    with video_progress(bar=not (out == "-" and console.is_terminal)) as show:
        for answer in job.run(predictor, top, workers=workers, on_progress=show):
            printed.add(answer.as_dict())
    printed.end()
    if job.complete:
        say(f"{file}: is complete, with the rows of all {job.tally.videos} videos", err=True)
    else:
        _summarise(job.tally, job.earlier, time.perf_counter() - began, file)
    if job.tally.unreadable:
        raise DataError(f"{job.tally.unreadable} of {job.tally.videos} videos cannot be read")


def _find(videos: list[str], listed: str | None) -> tuple[list[Source], list[str] | None]:
    """All videos, and what their rows call those of a list: as they are listed."""
    from timesformer.errors import SettingError
    from timesformer.inference.sources import read_list

    if bool(videos) == (listed is not None):
        raise SettingError("videos: expected VIDEO... or --list FILE, one of them")
    if listed is not None:
        sources = read_list(listed)
        return sources, list(map(str, sources))
    return sources_of(videos), None


def _find_listed(videos: list[str], listed: str | None) -> ListedVideos:
    """As `_find`, named as rows call them."""
    from timesformer.inference.listed import ListedVideos
    from timesformer.video.source import source_name

    sources, names = _find(videos, listed)
    return ListedVideos(names or [str(source_name(source)) for source in sources], sources)


def _summarise(tally: Tally, earlier: int, seconds: float, file: Path | None) -> None:
    """What became of the videos, on standard error; nothing of a single one that was seen well."""
    if tally.sparse:
        say(
            f"note: sampled sparsely: {tally.sparse} of {tally.videos} videos, such as {tally.example}; "
            "--whole covers all of a video, timesformer timeline says when",
            err=True,
        )
    if tally.videos != 1 or file:
        rate = (tally.videos - earlier) / max(seconds, 1e-9)
        rows = f"; rows in {file}" if file else ""
        now = f" ({tally.videos - earlier} now)" if earlier else ""
        say(
            f"done: {tally.videos} videos{now}, {tally.unreadable} unreadable, {rate:.2f} videos/s{rows}",
            err=True,
        )
