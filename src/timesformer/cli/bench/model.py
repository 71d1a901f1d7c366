"""`timesformer bench model`: one batch of clips through an engine."""

from __future__ import annotations

from typing import Annotated

import typer

from timesformer.cli.bench.printing import print_json, print_speed, progress_bar
from timesformer.cli.options import ARCHITECTURES, SCHEMES, SIZES, Device, Engine, Json


def model(
    weights: Annotated[str | None, typer.Argument(help="Weights; random ones if not given.", metavar="WEIGHTS")] = None,
    architecture: Annotated[
        str | None, typer.Option(help=f"Of random weights: {ARCHITECTURES}; timesformer if not given.")
    ] = None,
    size: Annotated[str | None, typer.Option(help=f"Of random weights: {SIZES}; base if not given.")] = None,
    scheme: Annotated[str | None, typer.Option(help=f"Of random weights: {SCHEMES}.")] = None,
    frames: Annotated[
        int | None, typer.Option(help="Frames of a clip; the weights' or the architecture's own if not given.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of a frame, pixels; the weights' or the architecture's own if not given.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Clips of a batch.")] = 1,
    engine: Engine = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or int8.")] = "auto",
    rounds: Annotated[int, typer.Option(help="Measurements.")] = 7,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Time a batch of clips through an engine, and the network's matrix products alone, in turn."""
    from timesformer.bench.model import measure_model

    with progress_bar("rounds", rounds) as advance:
        found = measure_model(
            weights,
            architecture=architecture,
            size=size,
            scheme=scheme,
            frames=frames,
            image_size=image_size,
            batch=batch,
            engine=engine,  # type: ignore[arg-type]
            precision=precision,  # type: ignore[arg-type]
            rounds=rounds,
            device=device,
            on_round=advance,
        )
    if as_json:
        print_json(found.as_dict())
    else:
        title = f"{found.scheme}, engine {found.engine}, {found.precision}, {found.device}"
        print_speed(found.speed, title, "a batch", [("chosen", found.reason), ("agreement", found.agreement)])
