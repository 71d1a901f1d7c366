"""`timesformer cost`: parameters and multiply-accumulates of a model."""

from __future__ import annotations

from typing import Annotated

import typer


def cost(
    size: Annotated[str, typer.Option(help="tiny, small, base or large")] = "base",
    scheme: Annotated[
        str,
        typer.Option(help="space_only, joint_space_time, divided_space_time, sparse_local_global or axial"),
    ] = "divided_space_time",
    frames: Annotated[int, typer.Option(min=1, help="Frames of a clip.")] = 8,
    image_size: Annotated[int, typer.Option(min=1, help="Side of a frame, pixels.")] = 224,
    patch_size: Annotated[int, typer.Option(help="Side of a patch, pixels: 8, 14, 16 or 32.")] = 16,
    classes: Annotated[int, typer.Option(min=1, help="Classes.")] = 400,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count the parameters and the multiply-accumulates (the paper's FLOPs) of one view."""
    import json

    from timesformer.config import ModelSettings
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
    counted = count_cost(make(ModelSettings, values, "cost"))
    if as_json:
        print(json.dumps(counted._asdict()))
    else:
        print(f"{counted.parameters / 1e6:.2f} M parameters, {counted.macs / 1e9:.1f} G multiply-accumulates a view")
