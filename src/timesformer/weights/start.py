"""A model to train: new, or begun from other weights."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from timesformer.config import Architecture, ModelSettings, Preprocessing
from timesformer.model.embed import resize_space, resize_time
from timesformer.model.timesformer import TimeSformer
from timesformer.weights import open_weights
from timesformer.weights.native import Classifier, load_strictly


class Start(NamedTuple):
    """A classifier to train and, in words, what was done to make it."""

    classifier: Classifier
    notes: list[str]


# What a recipe decides even where the network comes from other weights.
RECIPE_DECIDES = ("image_size", "num_frames", "drop_path", "dropout")


def start(
    architecture: Architecture, preprocessing: Preprocessing, labels: tuple[str, ...], init: str | Path | None = None
) -> Start:
    """A new model for `labels`; with `init`, a copy of other weights changed to fit.

    From other weights come the architecture, the pixel normalisation and all tensors. The recipe decides image
    size, frames and dropout: position tables are resized. A head for other classes is made anew.
    """
    if init is None:
        model = TimeSformer(**architecture.model_dump(), num_classes=len(labels))
        return Start(Classifier(model, preprocessing, labels), [])
    given = open_weights(init)
    changes = {name: getattr(architecture, name) for name in RECIPE_DECIDES}
    settings = given.model.settings.model_copy(update={**changes, "num_classes": len(labels)})
    settings = ModelSettings(**settings.model_dump())
    model = TimeSformer(**settings.model_dump())
    tensors = given.model.state_dict()
    notes = [f"from {init}, {_name(settings)}: architecture and pixel normalisation are the weights', not the recipe's"]
    old = given.model.settings
    if given.labels != labels:
        tensors |= {name: tensor for name, tensor in model.state_dict().items() if name.startswith("head.")}
        notes.append(f"new head for {len(labels)} classes (the weights have {len(given.labels)} others)")
    with torch.no_grad():
        if "embedding.space_table" in tensors and settings.image_size != old.image_size:
            table, side = tensors["embedding.space_table"], old.image_size // old.patch_size
            grid = settings.image_size // settings.patch_size
            patches = resize_space(table[:, 1:], side, (grid, grid), settings.position_resize)
            tensors["embedding.space_table"] = torch.cat([table[:, :1], patches], dim=1)
            notes.append(f"space table resized from {side} x {side} to {grid} x {grid} ({settings.position_resize})")
        if "embedding.time_table" in tensors and settings.num_frames != old.num_frames:
            table = resize_time(tensors["embedding.time_table"], settings.num_frames, settings.position_resize)
            tensors["embedding.time_table"] = table
            notes.append(f"time table resized from {old.num_frames} to {settings.num_frames} frames")
    load_strictly(model, tensors, init)
    pixels = {name: getattr(given.preprocessing, name) for name in ("mean", "std", "channels")}
    return Start(Classifier(model, preprocessing.model_copy(update=pixels), labels), notes)


def _name(settings: ModelSettings) -> str:
    width, depth, heads = settings.dimensions
    return f"{settings.scheme}, width {width}, {depth} blocks, {heads} heads, patch {settings.patch_size}"
