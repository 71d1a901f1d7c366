"""`timesformer cost`: parameters and multiply-accumulates of a model."""

from __future__ import annotations

from typing import Annotated

import typer

from timesformer.cli.options import ARCHITECTURES, SCHEMES, SIZES, Json


def cost(
    architecture: Annotated[str, typer.Option(help=f"{ARCHITECTURES}.")] = "timesformer",
    size: Annotated[str | None, typer.Option(help=f"{SIZES}; of a ViT.")] = None,
    scheme: Annotated[str | None, typer.Option(help=f"{SCHEMES}; of timesformer.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames of a clip.")] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Side of a frame, pixels.")] = None,
    patch_size: Annotated[int | None, typer.Option(help="Side of a patch, pixels; divides the image size.")] = None,
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 400,
    as_json: Json = False,
) -> None:
    """Count the parameters and the multiply-accumulates (the paper's FLOPs) of one view.

    Of the published size of an architecture where nothing else is asked for."""
    import json

    from timesformer.baselines.cost import count_cost
    from timesformer.config import ModelSettings
    from timesformer.settings import make

    values = {
        "architecture": architecture,
        "size": size,
        "scheme": scheme,
        "num_frames": frames,
        "image_size": image_size,
        "patch_size": patch_size,
        "num_classes": classes,
    }
    given = {name: value for name, value in values.items() if value is not None}
    counted = count_cost(make(ModelSettings.class_for(given), given, "cost"))
    if as_json:
        print(json.dumps(counted._asdict()))
    else:
        macs = f"{counted.macs / 1e9:.1f} G" if counted.macs >= 1e9 else f"{counted.macs / 1e6:.3g} M"
        parameters = f"{counted.parameters / 1e6:.2f} M" if counted.parameters >= 1e5 else f"{counted.parameters:,}"
        print(f"{parameters} parameters, {macs} multiply-accumulates a view")
