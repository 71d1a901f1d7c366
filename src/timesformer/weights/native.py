"""This package's own layout: a folder of config.json (see `description`), model.safetensors and a model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from timesformer.files import as_json
from timesformer.weights.card import model_card
from timesformer.weights.description import Contents, describe, is_description, read_description
from timesformer.weights.opened import OpenedTensors
from timesformer.weights.storage import new_folder, read_json, write_safetensors

FILES = ("config.json", "model.safetensors", "README.md")


def is_native(config: Mapping[str, Any]) -> bool:
    """Whether a folder's config.json has this layout."""
    return is_description(config)


def load_native(folder: Path) -> Contents:
    """Read a folder written by `save_native`. Raises WeightsError for one that is damaged or incomplete."""
    config, weights = folder / "config.json", folder / "model.safetensors"
    contents = read_description(read_json(config), config, {})
    assert contents is not None
    opened = OpenedTensors(weights)
    contents = contents._replace(tensors=opened())
    if any(tensor.dtype != torch.float32 for tensor in contents.tensors.values()):
        return contents
    return contents._replace(reread=opened)


def save_native(contents: Contents, folder: Path) -> None:
    """Write a folder, which appears, or replaces an older one, only when it is complete.

    Raises WeightsError where the folder holds something other than weights, and where it cannot be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in contents.tensors.items()}
    with new_folder(folder, FILES) as new:
        write_safetensors(tensors, new / "model.safetensors")
        (new / "config.json").write_text(as_json(describe(contents), indent=2) + "\n", "utf-8")
        (new / "README.md").write_text(model_card(contents), "utf-8")
