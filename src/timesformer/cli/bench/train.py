"""`timesformer bench train`: one optimiser step."""

from __future__ import annotations

from typing import Annotated

import typer

from timesformer.cli.bench.printing import print_json, print_speed, progress_bar
from timesformer.cli.options import ARCHITECTURES, SCHEMES, SIZES, Device, Json


def train(
    architecture: Annotated[str, typer.Option(help=f"{ARCHITECTURES}.")] = "timesformer",
    size: Annotated[str | None, typer.Option(help=f"{SIZES}; of a ViT, base if not given.")] = None,
    scheme: Annotated[
        str | None, typer.Option(help=f"{SCHEMES}; of timesformer, divided_space_time if not given.")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="Frames of a clip; the architecture's own if not given.")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of a frame, pixels; the architecture's own if not given.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Clips of a batch.")] = 4,
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

    with progress_bar(None, None):
        found = measure_step_apart(
            architecture=architecture,
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
        print_json(found.as_dict())
    else:
        print_speed(found.speed, f"training step, {found.scheme}, {found.precision}, {found.device}", "a step", [])
