"""`timesformer bench cost`: what schemes cost as clips grow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from timesformer.cli.bench.printing import print_json, progress_bar
from timesformer.cli.options import SIZES, Device, Engine, Json

if TYPE_CHECKING:
    from timesformer.bench.sweep import Row, Sweep


def cost(
    out: Annotated[Path, typer.Option(help="Folder of cost.csv, whose rows are kept, and cost.png.", metavar="FOLDER")],
    size: Annotated[str, typer.Option(help=f"{SIZES}.")] = "base",
    schemes: Annotated[str | None, typer.Option(help="Schemes, separated by commas; all if not given.")] = None,
    sizes: Annotated[
        str, typer.Option(help="Sides of a frame, pixels; at the first of the frame counts.")
    ] = "224,336,448,560",
    frame_counts: Annotated[str, typer.Option(help="Frames of a clip; at the first of the sizes.")] = "8,32,64,96",
    batch: Annotated[int, typer.Option(help="Clips of a batch.")] = 1,
    train: Annotated[bool, typer.Option("--train", help="Training steps instead of forward passes.")] = False,
    checkpoint_activations: Annotated[
        str, typer.Option(help="What training steps compute again: none, cheap or blocks.")
    ] = "none",
    engine: Engine = "auto",
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

    Ctrl-C keeps what has been measured; the same command continues from there.
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
    with progress_bar("points", len(sweep.points())) as advance:
        rows = measure_cost(
            sweep,
            out,
            lambda point, done, total: advance(
                done, f"{point.scheme} {point.frames} x {point.image_size} x {point.image_size}"
            ),
        )
    if as_json:
        print_json([row.model_dump() for row in rows])
    else:
        _print_rows(rows, sweep, out)


def _words(text: str) -> list[str]:
    """The parts of an option, separated by commas or spaces."""
    return [word for word in re.split(r"[,\s]+", text) if word]


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
