"""`timesformer cost`: parameters and multiply-accumulates of a model."""

from __future__ import annotations

from typing import Annotated

import typer

from timesformer.cli.options import SCHEMES, SIZES, Json


def cost(
    size: Annotated[str, typer.Option(help=f"{SIZES}.")] = "base",
    scheme: Annotated[str, typer.Option(help=f"{SCHEMES}.")] = "divided_space_time",
    frames: Annotated[int, typer.Option(min=1, help="Frames of a clip.")] = 8,
    image_size: Annotated[int, typer.Option(min=1, help="Side of a frame, pixels.")] = 224,
    patch_size: Annotated[int, typer.Option(help="Side of a patch, pixels; divides the image size.")] = 16,
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 400,
    as_json: Json = False,
) -> None:
    """Count the parameters and the multiply-accumulates (the paper's FLOPs) of one view."""
    import json

    from timesformer.config import TimeSformerSettings
    from timesformer.model.cost import count_cost
    from timesformer.settings import make

    values = {
        "size": size,
        "scheme": scheme,
        "num_frames": frames,
        "image_size": image_size,
        "patch_size": patch_size,
        "num_classes": classes,
    }
    counted = count_cost(make(TimeSformerSettings, values, "cost"))
    if as_json:
        print(json.dumps(counted._asdict()))
    else:
        print(f"{counted.parameters / 1e6:.2f} M parameters, {counted.macs / 1e9:.1f} G multiply-accumulates a view")
