"""`timesformer bench`: how fast this machine is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from timesformer.bench.limit import Speed
    from timesformer.bench.sweep import Row, Sweep
    from timesformer.bench.timing import Spread

app = typer.Typer(help="Measure speed and memory on this machine.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Batch = Annotated[int, typer.Option(help="Clips at once.")]
SCHEMES = "space_only, joint_space_time, divided_space_time, sparse_local_global or axial"
SIZES = "tiny, small, base or large"


@app.callback()
def bench() -> None:
    """Measure speed and memory on this machine."""


@app.command()
def model(
    weights: Annotated[str | None, typer.Argument(help="Weights; random ones if not given.", metavar="WEIGHTS")] = None,
    size: Annotated[str | None, typer.Option(help=f"{SIZES}, of random weights; base if not given.")] = None,
    scheme: Annotated[str | None, typer.Option(help=f"{SCHEMES}, of random weights.")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of a clip; the weights' own, or 8.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of a frame, pixels; the weights' own, or 224.")] = None,
    batch: Batch = 1,
    engine: Annotated[str, typer.Option(help="auto, eager, compile, openvino or onnx.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8.")] = "auto",
    rounds: Annotated[int, typer.Option(help="Measurements.")] = 7,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Time a batch of clips through an engine, and the matrix products of the network alone, in turn."""
    from timesformer.bench.model import measure_model

    with _progress("rounds", rounds) as advance:
        found = measure_model(
            weights,
            size=size,
            scheme=scheme,
            frames=frames,
            image_size=image_size,
            batch=batch,
            engine=engine,
            precision=precision,
            rounds=rounds,
            device=device,  # type: ignore[arg-type]
            on_round=advance,
        )
    if as_json:
        _print_json(found.as_dict())
    else:
        title = f"{found.scheme}, engine {found.engine}, {found.precision}, {found.device}"
        _print_speed(found.speed, title, "a batch", [("picked", found.reason), ("agreement", found.agreement)])


@app.command()
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
    """Read videos as a test does: in one process, with the shares of decoding and resizing, and in workers."""
    from timesformer.bench.video import Rate, measure_videos

    with _progress("passes", None) as advance:
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
        _print_json(found.as_dict())
        return

    def rated(rate: Rate) -> str:
        return (
            f"{rate.videos_per_second:.1f} videos/s, {rate.clips_per_second:.1f} clips/s, "
            f"{rate.ms_per_clip:.1f} ms a clip"
        )

    shares = (
        f"decoding {found.decoding:.0%}, resizing and RGB {found.resizing:.0%}, "
        f"opening {found.opening:.0%}, crops {found.cropping:.0%}"
    )
    lines = [("one process", rated(found.alone)), ("of its time", shares)]
    if found.together is not None:
        lines.append((f"{found.workers} worker{'s'[: found.workers != 1]}", rated(found.together)))
    if found.problems:
        lines.append(("left out", f"{len(found.problems)} that cannot be read: {found.problems[0].reason}"))
    title = (
        f"{found.videos} videos, {found.clips} clips of {found.frames} frames at {found.image_size} pixels, "
        f"crops {found.crops}"
    )
    _print_lines(title, lines)


@app.command()
def train(
    size: Annotated[str, typer.Option(help=SIZES)] = "base",
    scheme: Annotated[str, typer.Option(help=SCHEMES)] = "divided_space_time",
    frames: Annotated[int, typer.Option(help="Frames of a clip.")] = 8,
    image_size: Annotated[int, typer.Option(help="Side of a frame, pixels.")] = 224,
    batch: Batch = 4,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16 (weights stay float32).")] = "auto",
    checkpoint_activations: Annotated[
        str, typer.Option(help="What the backward pass computes again: none, cheap or blocks.")
    ] = "none",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the network.")] = False,
    rounds: Annotated[int, typer.Option(help="Measurements.")] = 5,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Time whole optimiser steps (AdamW), in a process of their own, and their matrix products alone, in turn."""
    from timesformer.bench.train import measure_step_apart

    with _progress(None, None):
        found = measure_step_apart(
            size=size,
            scheme=scheme,
            frames=frames,
            image_size=image_size,
            batch=batch,
            precision=precision,
            checkpoint_activations=checkpoint_activations,
            compiled=compiled,
            rounds=rounds,
            device=device,
        )
    if as_json:
        _print_json(found.as_dict())
    else:
        _print_speed(found.speed, f"training step, {found.scheme}, {found.precision}, {found.device}", "a step", [])


@app.command()
def cost(
    out: Annotated[Path, typer.Option(help="Folder of cost.csv, whose rows are kept, and cost.png.", metavar="FOLDER")],
    size: Annotated[str, typer.Option(help=SIZES)] = "base",
    schemes: Annotated[str | None, typer.Option(help="Some of them, parted by commas; all if not given.")] = None,
    sizes: Annotated[
        str, typer.Option(help="Sides of a frame, pixels; at the first of the frame counts.")
    ] = "224,336,448,560",
    frame_counts: Annotated[str, typer.Option(help="Frames of a clip; at the first of the sizes.")] = "8,32,64,96",
    batch: Batch = 1,
    train: Annotated[bool, typer.Option("--train", help="Training steps in place of forward passes.")] = False,
    checkpoint_activations: Annotated[
        str, typer.Option(help="What training steps compute again: none, cheap or blocks.")
    ] = "none",
    engine: Annotated[str, typer.Option(help="auto, eager, compile, openvino or onnx.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8.")] = "auto",
    device: Device = "auto",
    rounds: Annotated[int, typer.Option(help="Passes of a point; fewer after a tenth of its time limit.")] = 3,
    memory_limit: Annotated[
        float | None, typer.Option(help="GB a point may take; nine tenths of what is free if not given.")
    ] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds a point may take, with its start.")] = 300,
    as_json: Json = False,
) -> None:
    """Multiply-accumulates, time and memory of every scheme against resolution and frames (the paper's Figure 3).

    Ctrl-C keeps what is measured; the same command goes on from there.
    """
    from timesformer.bench.cost import measure_cost
    from timesformer.bench.sweep import Sweep
    from timesformer.settings import make

    values = {
        "size": size,
        "sizes": _words(sizes),
        "frame_counts": _words(frame_counts),
        "batch": batch,
        "train": train,
        "checkpoint_activations": checkpoint_activations,
        "engine": engine,
        "precision": precision,
        "device": device,
        "rounds": rounds,
        "memory_limit": memory_limit,
        "time_limit": time_limit,
    }
    chosen = {} if schemes is None else {"schemes": _words(schemes)}
    sweep = make(Sweep, {**values, **chosen}, "bench cost")
    with _progress("points", len(sweep.points())) as advance:
        rows = measure_cost(
            sweep,
            out,
            lambda point, done, total: advance(
                done, f"{point.scheme} {point.frames} x {point.image_size} x {point.image_size}"
            ),
        )
    if as_json:
        _print_json([row.model_dump() for row in rows])
    else:
        _print_rows(rows, sweep, out)


def _words(text: str) -> list[str]:
    """Parts of an option that commas or spaces part."""
    return [word for word in re.split(r"[,\s]+", text) if word]


@contextmanager
def _progress(unit: str | None, total: int | None) -> Iterator[Callable[..., None]]:
    """A bar that goes away, on a terminal alone; gives a function that advances it, or sets it and names what runs."""
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


def _print_json(values: Any) -> None:
    import json

    print(json.dumps(values))


def _print_lines(title: str, lines: list[tuple[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    table = Table(Column(style="bold"), Column(overflow="fold"), box=None, pad_edge=False, show_header=False)
    for name, text in lines:
        table.add_row(name, Text(text))
    console = Console(highlight=False)
    console.print(Text(title))
    console.print(table)


def _print_speed(speed: Speed, title: str, what: str, lines: list[tuple[str, str]]) -> None:
    batch, _, frames, rows, columns = speed.clips

    def milliseconds(spread: Spread) -> str:
        return f"{spread.median * 1e3:.1f} ms ({spread.low * 1e3:.1f} to {spread.high * 1e3:.1f})"

    whose = "while it runs" if speed.memory_watched else "of the process since its start"
    _print_lines(
        f"{title}, {batch} x {frames} x {rows} x {columns}, {speed.rounds} rounds",
        [
            (what, milliseconds(speed.seconds)),
            ("clips/s", f"{speed.clips_per_second:.3g}"),
            (
                "GMAC/s",
                f"{speed.macs_per_second / 1e9:.0f}, for {speed.macs / 1e9:.1f} GMAC; {speed.share_of_peak:.0%} of "
                f"the {speed.peak / 1e9:.0f} of the best product",
            ),
            ("products alone", f"{milliseconds(speed.limit)}; {speed.share:.0%} of the time of {what}"),
            ("memory", f"{speed.memory / 1e9:.2f} GB at the peak, {whose}"),
            *lines,
        ],
    )


def _print_rows(rows: list[Row], sweep: Sweep, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from timesformer.bench.cost import PICTURE, TABLE
    from timesformer.bench.sweep import Point

    console = Console(highlight=False)
    found = {row.point: row for row in rows}
    for axis, shapes in sweep.axes().items():
        table = Table("", box=None, pad_edge=False)
        for frames, side in shapes:
            table.add_column(f"{frames} x {side} x {side}", justify="right")
        for scheme in sweep.schemes:
            cells = [found.get(Point(scheme, *shape)) for shape in shapes]
            table.add_row(scheme, *("" if row is None else _cell(row) for row in cells))
        console.print(
            f"TMAC a clip, seconds a {'step' if sweep.train else 'pass'}, GB at the peak; by "
            f"{'image size' if axis == 'image_size' else 'frames'}"
        )
        console.print(table)
    for row in rows:
        if row.status == "failed":
            console.print(f"{row.scheme} {row.frames} x {row.image_size}: {row.ran}", markup=False)
    console.print(f"{out / TABLE}, {out / PICTURE}", markup=False, soft_wrap=True)


def _cell(row: Row) -> str:
    if row.seconds is None or row.memory is None:
        return f"{row.macs / 1e12:.3g} {row.status}"
    return f"{row.macs / 1e12:.3g} {row.seconds:.3g} {row.memory / 1e9:.1f}"
