"""Whether a Hugging Face config.json describes the tensors beside it, as it does wherever transformers loads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from timesformer.errors import WeightsError
from timesformer.weights.names import check_ndim, count_blocks, side_of


def check_agreement(config: Mapping[str, Any], tensors: Mapping[str, Tensor], source: Path) -> None:
    """Raises WeightsError that names both where `config` contradicts `tensors`, which are under our names.

    What it does not say contradicts nothing. transformers cuts pixels beyond the last whole patch off; it resizes
    tables for other clips, but not when it loads them.
    """
    check_ndim(tensors, source)
    width, channels, _, patch = tensors["embedding.projection.weight"].shape
    hidden = tensors["blocks.0.mlp.0.weight"].shape[0]
    found: dict[str, float] = {
        "hidden_size": width,
        "num_hidden_layers": count_blocks(tensors, "blocks."),
        "intermediate_size": hidden,
        "mlp_ratio": hidden / width,
        "patch_size": patch,
        "tubelet_size": channels // 3,
    }
    if "embedding.time_table" in tensors:
        found = {"num_frames": tensors["embedding.time_table"].shape[1]} | found
    if "head.weight" in tensors:
        found["num_labels"] = tensors["head.weight"].shape[0]
    problems = [
        f"{name} is {config[name]!r}, the tensors have {value:g}"
        for name, value in found.items()
        if config.get(name) is not None and _pair(config[name]) != (value, value)
    ]
    pixels, table = config.get("image_size"), tensors.get("embedding.space_table")
    if pixels is not None and table is not None:
        side = side_of(table, source)
        if [_patches(size, patch) for size in _pair(pixels)] != [side, side]:
            problems.append(f"image_size is {pixels!r}, the tensors have {side} x {side} patches of {patch} pixels")
    if problems:
        raise WeightsError(f"{source}: {'; '.join(problems)}")


def _pair(value: object) -> tuple[object, ...]:
    """Height and width: two numbers, or one for both."""
    return tuple(value) if isinstance(value, list | tuple) else (value, value)


def _patches(size: object, patch: int) -> int | None:
    return size // patch if isinstance(size, int) else None
