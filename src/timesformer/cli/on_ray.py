"""`--on ray` of `predict`, `features` and `timeline`: the same rows, on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from timesformer.cli.progress import video_progress
from timesformer.errors import DataError, SettingError

if TYPE_CHECKING:
    from timesformer.inference.listed import ListedVideos
    from timesformer.scale.collector import Summary
    from timesformer.scale.work import Work

PANEL = "On a cluster"
On = Annotated[
    str | None,
    typer.Option(
        "--on", help="ray: with Ray Data, into a folder or s3://BUCKET/FOLDER.", metavar="ray", rich_help_panel=PANEL
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="Of a Ray cluster, auto or HOST:PORT; this machine if not given.", rich_help_panel=PANEL),
]
ManifestFile = Annotated[
    str | None,
    typer.Option(
        "--manifest",
        help="Videos: column path of *.parquet or *.csv, lines of *.txt.",
        metavar="FILE",
        rich_help_panel=PANEL,
    ),
]
Gpus = Annotated[
    float | None, typer.Option(help="GPUs of a model, such as 0.5; 1 where there are any.", rich_help_panel=PANEL)
]
Retries = Annotated[
    int | None,
    typer.Option(help="Further tries of a video that crashes or meets a limit; 1 if not given.", rich_help_panel=PANEL),
]
TimeLimit = Annotated[
    float | None,
    typer.Option(help="Seconds until a video is decoded, or comes further; 300 if not given.", rich_help_panel=PANEL),
]
MemoryLimit = Annotated[
    float | None,
    typer.Option(help="GB of memory that decoding a video may take; 4 if not given.", rich_help_panel=PANEL),
]


class RayOptions(NamedTuple):
    """As they were given."""

    on: str | None
    address: str | None
    manifest: str | None
    gpus: float | None
    retries: int | None
    time_limit: float | None
    memory_limit: float | None

    def wanted(self, *, resume: bool, refused: dict[str, Any]) -> bool:
        """Whether the command is to run on Ray. Raises SettingError for options that do not go together; resume: what
        is given of --resume; refused: those, with their values, that one machine alone has."""
        if self.on is None:
            for name, value in self._asdict().items():
                if value is not None:
                    raise SettingError(f"--{name.replace('_', '-')} requires --on ray")
            return False
        if self.on != "ray":
            raise SettingError(f"--on {self.on}: expected ray")
        if resume:
            raise SettingError("--resume is not for --on ray, where the same command goes on by itself")
        for name, value in refused.items():
            if value:
                raise SettingError(
                    f"{name} is not for --on ray, which writes rows into a folder; run it on one machine"
                )
        return True


def run(
    given: RayOptions,
    work: Work,
    find: Callable[[], ListedVideos] | None,
    out: str | None,
    *,
    weights: str,
    device: str,
    engine: str,
    precision: str,
    labels: Any,
    threads: int | None,
    workers: int | None = None,
    shard: str | None = None,
    threshold: float = 0.0,
) -> None:
    """Run, with a bar, and say at the end what it took. find: the videos that the command line names, if it does."""
    from timesformer.scale import ray_batch
    from timesformer.scale.cluster import Cluster
    from timesformer.scale.decoder import Limits
    from timesformer.scale.tasks import Loading
    from timesformer.scale.work_list import read_work_list

    if out in (None, "-"):
        raise SettingError("--on ray requires --out FOLDER")
    if Path(str(out)).suffix in (".csv", ".jsonl", ".parquet"):
        raise SettingError(f"--out {out}: --on ray writes a folder of Parquet files; give it the name of a folder")
    if (given.manifest is None) == (find is None):
        raise SettingError("videos: expected VIDEO... or --manifest FILE, one of them")
    videos = read_work_list(str(given.manifest)) if find is None else find()
    plain = Limits()
    limits = Limits(
        plain.retries if given.retries is None else given.retries,
        plain.seconds if given.time_limit is None else given.time_limit,
        plain.memory if given.memory_limit is None else given.memory_limit,
    )
    loading = Loading(
        weights=str(Path(weights).absolute()) if Path(weights).exists() else weights,
        device=device,
        engine=engine,
        precision=precision,
        labels=None if labels is None else str(Path(labels).absolute()),
        threshold=threshold,
    )
    cluster = Cluster(address=given.address, gpus=given.gpus, threads=threads, workers=workers)
    try:
        with video_progress() as show:
            summary = ray_batch.run(
                work, videos, str(out), loading, cluster=cluster, limits=limits, shard=shard, on_progress=show
            )
    except KeyboardInterrupt as stop:
        stop.add_note(f"complete parts are in {out}; the same command goes on with them")
        raise
    _say(summary, str(out))
    if summary.total.unreadable:  # in earlier runs, too: the same command tells the same
        raise DataError(f"{summary.total.unreadable} of {summary.total.videos} videos in {out} cannot be read")


def _say(summary: Summary, out: str) -> None:
    from rich.filesize import decimal

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    if summary.doubled:
        say(f"note: {summary.doubled} names are listed more than once; each has its rows once")
    if not summary.now:
        say(f"{out}: is complete, with the rows of all {summary.videos} videos")
        return
    now = f" ({summary.now} now)" if summary.earlier else ""
    rate = summary.now / max(summary.seconds, 1e-9)
    say(
        f"done: {summary.videos} videos{now}, {summary.unreadable} unreadable, {rate:.2f} videos/s; rows in {out}, "
        f"{summary.total.files} file{'s'[: summary.total.files != 1]}"
    )
    lost = f", {summary.lost} lost decoders" if summary.lost else ""
    say(
        f"cost: {summary.decoding:.1f} s of processors to decode, {summary.model:.1f} s of models, "
        f"{decimal(int(summary.read))} read, {decimal(int(summary.written))} written{lost}"
    )
