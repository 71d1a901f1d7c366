"""`timesformer bench train`: one optimiser step."""

from __future__ import annotations

from typing import Annotated

import typer

from timesformer.cli.bench.printing import print_json, print_speed, progress_bar
from timesformer.cli.options import SCHEMES, SIZES, Device, Json


def train(
    size: Annotated[str, typer.Option(help=f"{SIZES}.")] = "base",
    scheme: Annotated[str, typer.Option(help=f"{SCHEMES}.")] = "divided_space_time",
    frames: Annotated[int, typer.Option(help="Frames of a clip.")] = 8,
    image_size: Annotated[int, typer.Option(help="Side of a frame, pixels.")] = 224,
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
