"""`timesformer timeline`: what videos show over time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timesformer.cli import on_ray
from timesformer.cli.answers import JsonLines, Nothing, Printed
from timesformer.cli.lines import say
from timesformer.cli.live import Fps, Live, PixelFormat, Size, capture_of, follow, is_live
from timesformer.cli.options import Device, End, Engine, Labels, Precision, Start, Threads, Weights
from timesformer.cli.progress import timeline_progress
from timesformer.cli.sources import sources_of
from timesformer.cli.window_lines import WindowLines, WindowTabs
from timesformer.threads import use_threads

if TYPE_CHECKING:
    from timesformer.video.source import Source

Videos = Annotated[
    list[str] | None,
    typer.Argument(
        help="Video files, folders of videos, URLs; or one live stream: a camera (0, /dev/video0), an RTSP, UDP or "
        "endless HTTP URL, - for standard input.",
        metavar="VIDEO|FOLDER|URL...|CAMERA|-",
    ),
]


def timeline(
    weights: Weights,
    videos: Videos = None,
    window: Annotated[
        float | None, typer.Option(help="Length of a window, seconds; the span of a clip if not given.")
    ] = None,
    stride: Annotated[
        float | None, typer.Option(help="From one window to the next, seconds; half a window if not given.")
    ] = None,
    smooth: Annotated[
        float, typer.Option(help="Mean of the scores of windows whose centres lie within so many seconds.")
    ] = 0.0,
    start: Start = None,
    end: End = None,
    scores: Annotated[bool, typer.Option("--scores", help="Rows with the scores of all classes.")] = False,
    labels: Labels = None,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="Windows: *.jsonl, *.csv, *.parquet. Segments: *.json; of one video *.vtt, *.srt, *.png, *.mp4. "
            "- prints JSON Lines.",
            metavar="FILE|-",
        ),
    ] = None,
    threshold: Annotated[float, typer.Option(help="Score below which a moment is in no segment.")] = 0.0,
    min_length: Annotated[float, typer.Option(help="Length of segments, at least, seconds.")] = 0.0,
    background: Annotated[
        list[str] | None, typer.Option(help="Class whose moments are in no segment; may be repeated.", metavar="NAME")
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="Ground-truth segments, CSV of start,end,label and video; prints accuracy and mAP."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the metrics of --truth as JSON.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the rows that --out FILE has; of a live stream, complete it.")
    ] = False,
    live: Live = False,
    size: Size = None,
    fps: Fps = None,
    pixel_format: PixelFormat = None,
    on: on_ray.On = None,
    address: on_ray.Address = None,
    manifest: on_ray.ManifestFile = None,
    gpus: on_ray.Gpus = None,
    retries: on_ray.Retries = None,
    time_limit: on_ray.TimeLimit = None,
    memory_limit: on_ray.MemoryLimit = None,
) -> None:
    """The best class of every window of a video, with its score between 0 and 1.

    A table on a terminal; elsewhere fields separated by tabs. Exits with 2 for an unreadable video or a lost stream.
    """
    from rich.console import Console

    from timesformer.errors import DataError, SettingError
    from timesformer.files import as_json as to_json
    from timesformer.inference.listed import list_videos
    from timesformer.inference.live_job import LiveJob
    from timesformer.inference.load import load
    from timesformer.inference.segment_output import SegmentOptions, printable
    from timesformer.inference.timeline import TimelineOptions
    from timesformer.inference.timeline_job import TimelineJob
    from timesformer.video.live_input import Capture

    given = on_ray.RayOptions(on, address, manifest, gpus, retries, time_limit, memory_limit)
    segments = {"--threshold": threshold, "--min-length": min_length, "--background": background, "--truth": truth}
    camera = {"--live": live, "--size": size, "--fps": fps, "--pixel-format": pixel_format}
    if given.wanted(resume=resume, refused={"--json": as_json, **camera, **segments}):
        from timesformer.scale.timeline_work import Timeline

        on_ray.run(
            given,
            Timeline(TimelineOptions(window, stride, start, end, smooth), scores),
            (lambda: list_videos(sources_of(videos))) if videos else None,
            out,
            weights=weights,
            device=device,
            engine=engine,
            precision=precision,
            labels=labels,
            threads=threads,
        )
        return
    use_threads(threads)
    if not videos:
        raise SettingError("videos: none; expected VIDEO..., a camera, or - for standard input")
    file = None if out in (None, "-") else Path(str(out))
    if resume and file is None:
        raise SettingError("--resume requires --out FILE")
    if scores and out is None:
        raise SettingError("--scores requires --out FILE or --out -")
    if truth is not None and file is None:
        raise SettingError("--truth requires --out FILE")
    if as_json and truth is None:
        raise SettingError("--json requires --truth FILE")
    capture = capture_of(size, fps, pixel_format)
    job: TimelineJob | LiveJob
    if is_live(videos, live):
        if precision == "int8":
            raise SettingError(f"--precision int8 requires files; {videos[0]} is live")
        if threshold or min_length or background or truth is not None:
            raise SettingError(
                f"--threshold, --min-length, --background and --truth require files; {videos[0]} is live"
            )
        sources: list[Source] = []
        options = TimelineOptions(window, stride, start, end, smooth)
        job = LiveJob(videos[0], file, capture=capture, options=options, scores=scores, resume=resume)
    else:
        if capture != Capture():
            raise SettingError("--size, --fps and --pixel-format require a camera or standard input")
        sources = sources_of(videos)
        job = TimelineJob(
            sources,
            file,
            window=window,
            stride=stride,
            start=start,
            end=end,
            smooth=smooth,
            scores=scores,
            resume=resume,
            segments=SegmentOptions(threshold, min_length, tuple(background or ()), truth),
        )
    predictor = load(
        weights,
        device,
        labels=labels,
        engine=engine,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        calibration=sources if precision == "int8" else (),
    )
    console = Console(highlight=False)
    printed: Printed = WindowLines(predictor.labels, len(sources)) if console.is_terminal else WindowTabs()
    printed = Nothing() if file else JsonLines() if out else printed
    say(predictor.engine, err=True)
    if isinstance(job, LiveJob):
        follow(job, predictor, printed, quiet=file is not None)
        return
    began = time.perf_counter()
    # Rows on a terminal would go through the bar; their time stamps say how far it is.
    with timeline_progress(bar=bool(file) or not console.is_terminal) as show:
        for row in job.run(predictor, on_progress=show):
            printed.add(row)
    printed.end()
    counts, seconds = job.counts, time.perf_counter() - began
    if job.complete and job.earlier == counts.windows and not job.seconds:
        say(f"{file}: is complete, with the rows of all {counts.videos} videos", err=True)
    else:
        now = f" ({counts.windows - job.earlier} now)" if job.earlier else ""
        rows = f"; {'segments' if job.makes_segments else 'rows'} in {file}" if file else ""
        say(
            f"done: {counts.videos} videos, {counts.unreadable} unreadable, {counts.windows} windows{now}, "
            f"{job.seconds:.1f} s of video at {job.seconds / max(seconds, 1e-9):.1f} times real time{rows}",
            err=True,
        )
    if job.truth is not None and job.metrics is not None:
        print(to_json(job.metrics.as_dict()) if as_json else printable(job.metrics, job.truth))
    if counts.unreadable:
        raise DataError(f"{counts.unreadable} of {counts.videos} videos cannot be read to their end")
