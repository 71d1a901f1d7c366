"""Weights for clips of another size or length: position tables resized."""

from __future__ import annotations

import torch
from torch import Tensor

from timesformer.baselines.architectures import build_model
from timesformer.baselines.frame_vit import image_settings
from timesformer.config import FrameViTSettings, ModelSettings, TimeSformerSettings
from timesformer.model.embed import resize_fixed, resize_space, resize_time
from timesformer.settings import make
from timesformer.weights.classifier import Classifier, load_strictly


def resize_classifier(
    classifier: Classifier,
    image_size: int | None = None,
    num_frames: int | None = None,
    position_resize: str | None = None,
) -> Classifier:
    """The classifier for frames of another side, in pixels, or clips of another number of frames.

    Tables are resized as `position_resize` names ("bicubic", "nearest", "nearest_flat"), or else as the model's own
    setting does: weights of the official code have "nearest", what its forward pass does. Raises SettingError for a
    size that is no multiple of the patch, and for no frames.
    """
    old = classifier.model.settings
    given = {"image_size": image_size, "num_frames": num_frames, "position_resize": position_resize}
    changes = {name: value for name, value in given.items() if value is not None}
    settings = make(type(old), old.model_dump() | changes, "another clip shape")
    if settings == old:
        return classifier
    tensors = classifier.model.state_dict()
    tables = table_settings(settings)
    if tables is not None:
        resize_tables(tensors, old.image_size // tables.patch_size, tables)
    model = build_model(settings).eval()
    load_strictly(model, tensors, "resized weights")
    preprocessing = classifier.preprocessing
    if image_size is not None and preprocessing.short_side is not None:
        side = preprocessing.short_side * settings.image_size // old.image_size
        preprocessing = preprocessing.model_copy(update={"short_side": side})
    return Classifier(model, preprocessing, classifier.labels, classifier.facts)


def table_settings(settings: ModelSettings) -> TimeSformerSettings | None:
    """The settings that position tables are made for; None for a model without any."""
    if isinstance(settings, FrameViTSettings):
        return image_settings(settings)
    return settings if isinstance(settings, TimeSformerSettings) else None


@torch.no_grad()
def resize_tables(tensors: dict[str, Tensor], side: int, settings: TimeSformerSettings) -> list[str]:
    """Fit the position tables, those of places being of side x side patches, to settings; says what was done."""
    notes = []
    how, frames = settings.position_resize, settings.num_frames // settings.tubelet
    grid = settings.image_size // settings.patch_size
    space = tensors.get("embedding.space_table")
    if space is not None and side != grid:
        patches = resize_space(space[:, 1:], side, (grid, grid), how)
        tensors["embedding.space_table"] = torch.cat([space[:, :1], patches], dim=1)
        notes.append(f"space table resized from {side} x {side} to {grid} x {grid} ({how})")
    time = tensors.get("embedding.time_table")
    if time is not None and frames != time.shape[1]:
        tensors["embedding.time_table"] = resize_time(time, frames, how)
        what = "frames" if settings.tubelet == 1 else "tubelets"
        notes.append(f"time table resized from {time.shape[1]} to {frames} {what} ({how})")
    fixed = tensors.get("embedding.fixed_table")
    if fixed is not None and (side, len(fixed)) != (grid, frames):
        tensors["embedding.fixed_table"] = resize_fixed(fixed, side, frames, (grid, grid), how)
        before, after = (f"{length} x {places} x {places}" for length, places in ((len(fixed), side), (frames, grid)))
        notes.append(f"fixed table resized from {before} to {after} patches ({how})")
    return notes
