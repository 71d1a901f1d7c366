"""`timesformer features`: features of videos, or of windows of them, in a file that can be searched."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from timesformer.cli import on_ray
from timesformer.cli.lines import say
from timesformer.cli.options import Device, Engine, Labels, Precision, Threads, Weights, Workers
from timesformer.cli.progress import video_progress
from timesformer.cli.sources import sources_of
from timesformer.threads import use_threads

if TYPE_CHECKING:
    from timesformer.inference.listed import ListedVideos


def features(
    weights: Weights,
    videos: Annotated[
        list[str] | None,
        typer.Argument(help="A data set; or video files, folders of videos, URLs.", metavar="DATA|VIDEO..."),
    ] = None,
    *,
    out: Annotated[
        str, typer.Option(help="*.parquet, or a folder of .npy and .json a video.", metavar="FILE.parquet|FOLDER")
    ],
    split: Annotated[str | None, typer.Option(help="Of DATA: train, val or test; all if not given.")] = None,
    layer: Annotated[int, typer.Option(help="Number of a block, from 0, negative ones from the last.")] = -1,
    pool: Annotated[
        str | None, typer.Option(help="cls, mean, frames or tokens; cls if not given, mean without a class token.")
    ] = None,
    window: Annotated[
        float | None, typer.Option(help="A row a window of so many seconds, not a video.", metavar="SECONDS")
    ] = None,
    stride: Annotated[
        float | None, typer.Option(help="From one window to the next; half a window if not given.", metavar="SECONDS")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float16 or float32.")] = "float16",
    labels: Labels = None,
    device: Device = "auto",
    engine: Engine = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    workers: Workers = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the rows that are there.")] = False,
    on: on_ray.On = None,
    address: on_ray.Address = None,
    manifest: on_ray.ManifestFile = None,
    gpus: on_ray.Gpus = None,
    retries: on_ray.Retries = None,
    time_limit: on_ray.TimeLimit = None,
    memory_limit: on_ray.MemoryLimit = None,
) -> None:
    """A vector a video, or a window of it, for search, probe and other tools.

    Exits with 2 if a video cannot be read; its row says why."""
    from timesformer.errors import DataError, SettingError
    from timesformer.inference.feature_job import FeatureJob
    from timesformer.inference.load import load

    given = on_ray.RayOptions(on, address, manifest, gpus, retries, time_limit, memory_limit)
    if given.wanted(resume=resume, refused={}):
        from timesformer.scale.work import Features

        if split is not None and not videos:
            raise SettingError(f"--split {split} requires DATA")
        on_ray.run(
            given,
            Features(layer, pool, window, stride, dtype),
            partial(_find, videos, split) if videos else None,
            out,
            weights=weights,
            device=device,
            engine=engine,
            precision=precision,
            labels=labels,
            threads=threads,
            workers=workers,
        )
        return
    use_threads(threads)
    if not videos:
        raise SettingError("videos: none; expected DATA or VIDEO...")
    listed = _find(videos, split)
    job = FeatureJob(listed, out, layer=layer, pool=pool, window=window, stride=stride, dtype=dtype, resume=resume)
    predictor = load(
        weights,
        device,
        labels=labels,
        engine=engine,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        calibration=listed.paths if precision == "int8" else (),
    )
    began = time.perf_counter()
    with video_progress() as show:
        for _ in job.run(predictor, workers=workers, on_progress=show):
            pass
    counts, now = job.counts, job.counts.videos - job.earlier
    if job.complete and not now:
        say(f"{out}: is complete, with all {counts.rows} rows", err=True)
    else:
        rate = now / max(time.perf_counter() - began, 1e-9)
        some = f" ({now} now)" if job.earlier else ""
        say(
            f"done: {counts.videos} videos{some}, {counts.rows} rows, {counts.unreadable} unreadable, {rate:.2f} "
            f"videos/s; rows in {out}",
            err=True,
        )
    if counts.unreadable:
        raise DataError(f"{counts.unreadable} of {counts.videos} videos cannot be read")


def _find(videos: list[str], split: str | None) -> ListedVideos:
    """The videos of a data set, or those that are named."""
    from timesformer.errors import SettingError
    from timesformer.inference.listed import find_data, list_videos

    listed = find_data(videos[0], split) if len(videos) == 1 else None
    if listed is not None:
        return listed
    if split is not None:
        raise SettingError(f"--split {split}: {videos[0]} is no data set; expected DATA alone")
    return list_videos(sources_of(videos))
