"""`timesformer convert`: weights in another layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from timesformer.cli.options import Labels


def convert(
    weights: Annotated[str, typer.Argument(help="Weights of any layout, or a hub id.", metavar="WEIGHTS")],
    out: Annotated[Path, typer.Argument(help="New folder (native, huggingface) or file.", metavar="OUT")],
    to: Annotated[str, typer.Option(help="native, official, mmaction2, huggingface, pytorchvideo or pyslowfast.")],
    labels: Labels = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads, where the weights do not say.")] = None,
) -> None:
    """Write weights in another layout, with their preprocessing and class names."""
    from timesformer.weights.convert import convert as convert_weights

    classifier = convert_weights(weights, out, to, labels=labels, heads=heads)
    settings = classifier.model.settings
    print(f"{out}: {settings.describe()}, {settings.clip_shape}, {len(classifier.labels)} classes, as {to}")
    if to == "huggingface":
        print(
            "transformers' pipeline takes other frames and crops than this package, so its labels differ: "
            f"{out / 'README.md'} has code that gives the same"
        )
