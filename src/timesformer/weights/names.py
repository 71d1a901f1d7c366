"""Tensor names of another layout and ours, one to one, and the settings that tensors imply."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from timesformer.config import SIZES, Dimensions, ModelSettings, PositionResize, Scheme, TimeSformerSettings
from timesformer.errors import SettingError, WeightsError
from timesformer.settings import Settings, make

PARTS = ("weight", "bias")
COUNTER = "num_batches_tracked"  # which old versions of torch did not keep, and nothing needs
QKV = ("query", "key", "value")
NDIM = {
    "embedding.class_token": 3,
    "embedding.space_table": 3,
    "embedding.time_table": 3,
    "head.weight": 2,
    "embedding.projection.weight": 4,
    "blocks.0.mlp.0.weight": 2,
}
S = TypeVar("S", bound=Settings)
logger = logging.getLogger(__name__)


def expand(templates: Mapping[str, str], depth: int) -> dict[str, str]:
    """Templates of names, theirs to ours, with {i} for each block and {p} for weight and bias written out."""
    names = {}
    for theirs, ours in templates.items():
        for block in range(depth) if "{i}" in theirs else (0,):
            for part in PARTS if "{p}" in theirs else ("",):
                names[theirs.format(i=block, p=part)] = ours.format(i=block, p=part)
    return names


def to_ours(tensors: Mapping[str, Tensor], names: Mapping[str, str], source: object) -> dict[str, Tensor]:
    """Tensors under our names. Raises WeightsError for a tensor of theirs that is missing or unknown."""
    missing = [name for name in names if name not in tensors]
    unknown = [name for name in tensors if name not in names]
    problems = [
        f"{len(found)} {kind} ({', '.join(found[:3])}{', ...' if found[3:] else ''})"
        for kind, found in (("missing", missing), ("unknown", unknown))
        if found
    ]
    if problems:
        raise WeightsError(f"{source}: tensors do not fit the layout: {'; '.join(problems)}")
    return {ours: tensors[theirs] for theirs, ours in names.items()}


def to_theirs(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Our tensors under their names; copies that can be written."""
    ours = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    assert ours.keys() == set(names.values())
    return {theirs: ours[name] for theirs, name in names.items()}


def join_attention(ours: dict[str, Tensor], block: int, layer: str, source: object) -> None:
    """Queries, keys and values of a block, which are three layers of another layout, as our one `layer`.

    A bias that the layout does not have is zero. Raises WeightsError for a tensor of another shape.
    """
    width = len(ours["embedding.projection.weight"])
    for part, shape in (("weight", (width, width)), ("bias", (width,))):
        found = {name: ours.pop(f"blocks.{block}.{name}.{part}", None) for name in QKV}
        for name, tensor in found.items():
            if tensor is not None and tensor.shape != shape:
                raise WeightsError(
                    f"{source}: tensors do not fit the model: 1 misshapen ({part} of block {block}'s {name} "
                    f"{tuple(tensor.shape)} for {shape})"
                )
        like = found["query"]
        assert like is not None
        ours[f"{layer}.{part}"] = torch.cat([torch.zeros_like(like) if t is None else t for t in found.values()])


def count_blocks(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Number of blocks whose tensors' names begin with `prefix` and a number."""
    numbers = {name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)}
    return len(numbers & {str(number) for number in range(len(numbers))})


def dimension_values(dimensions: Dimensions) -> dict[str, Any]:
    """Settings that give these dimensions: a named size where there is one."""
    named = next((name for name, size in SIZES.items() if size == dimensions), None)
    return {"size": named, "width": None, "depth": None, "heads": None} if named else dimensions._asdict()


def settings_of(
    tensors: Mapping[str, Tensor],
    source: Path | str,
    *,
    scheme: Scheme,
    heads: int | None,
    frames: int,
    position_resize: PositionResize,
) -> TimeSformerSettings:
    """The settings that tensors under our names imply.

    `heads` are not in the tensors: see `guess_heads`. `frames` is for models without a time table.
    """
    check_ndim(tensors, source)
    width = tensors["embedding.class_token"].shape[-1]
    heads = guess_heads(width, source) if heads is None else heads
    depth = count_blocks(tensors, "blocks.")
    patch = tensors["embedding.projection.weight"].shape[-1]
    side = side_of(tensors["embedding.space_table"], source)
    table = tensors.get("embedding.time_table")
    values = {
        **dimension_values(Dimensions(width, depth, heads)),
        "mlp_ratio": tensors["blocks.0.mlp.0.weight"].shape[0] / width,
        "scheme": scheme,
        "image_size": side * patch,
        "patch_size": patch,
        "num_frames": frames if table is None else table.shape[1],
        "num_classes": tensors["head.weight"].shape[0],
        "position_resize": position_resize,
    }
    return settings_from(TimeSformerSettings, values, source)


def fill_counters(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors; where they have no counters of batch norms, with those among `names`, at zero."""
    if any(name.endswith(COUNTER) for name in tensors):
        return dict(tensors)
    return {**tensors, **{name: torch.tensor(0) for name in names if name.endswith(COUNTER)}}


def settings_from(cls: type[S], values: Mapping[str, Any], source: object) -> S:
    """Settings from a file; one that is not allowed is a WeightsError."""
    try:
        return make(cls, values, str(source))
    except SettingError as error:
        raise WeightsError(str(error)) from None


def check_ndim(tensors: Mapping[str, Tensor], source: object) -> None:
    """Raises WeightsError where a tensor that decides the architecture is missing or has too many or few dimensions."""
    for name, ndim in NDIM.items():
        if name not in tensors and name.startswith("blocks."):
            raise WeightsError(f"{source}: tensors do not fit the layout: no blocks")
        if name in tensors and tensors[name].ndim != ndim:
            raise WeightsError(
                f"{source}: tensors do not fit the model: 1 misshapen ({name} "
                f"{tuple(tensors[name].shape)}, not of {ndim} dimensions)"
            )


def side_of(space_table: Tensor, source: object) -> int:
    """Side of the square of patches that a space table, class token first, is for."""
    patches = space_table.shape[1] - 1
    if patches < 1 or math.isqrt(patches) ** 2 != patches:
        raise WeightsError(f"{source}: the space table has {patches} patches, which make no square")
    return math.isqrt(patches)


def guess_heads(width: int, source: object) -> int:
    """Attention heads, which no tensor shows: of 64 channels, as in all ViTs.

    A width that is no multiple of 64 gets heads of the largest power of two that divides it, and a warning.
    """
    channels = math.gcd(width, 64)
    if channels != 64:
        logger.warning(
            "%s: the file does not say how many attention heads; assuming %d of %d channels each; if that is wrong, "
            "run `timesformer convert %s OUT --to native --heads N` and use OUT, or pass heads=N in Python",
            source,
            width // channels,
            channels,
            source,
        )
    return width // channels


def check_expressible(
    settings: ModelSettings, layout: str, *, norm_epsilon: float | None = 1e-6, multilabel: bool | None = False
) -> TimeSformerSettings:
    """Raises WeightsError for a model that another layout cannot express; None stands for any value."""
    if not isinstance(settings, TimeSformerSettings):
        raise WeightsError(f"the {layout} layout has no architecture {settings.architecture}; it has timesformer")
    if settings.scheme not in ("space_only", "joint_space_time", "divided_space_time"):
        raise WeightsError(
            f"the {layout} layout has no scheme {settings.scheme_name}; it has space_only, joint_space_time "
            "and divided_space_time"
        )
    for name, only in (
        ("order", "time_space"),
        ("tubelet", 1),
        ("class_token", True),
        ("position", "space_time"),
        ("class_token_in_time", False),
        ("pooling", "class_token"),
        ("multilabel", multilabel),
        ("norm_epsilon", norm_epsilon),
        ("last_norm_epsilon", settings.norm_epsilon),
    ):
        value = getattr(settings, name)
        if None not in (only, value) and value != only:
            raise WeightsError(f"the {layout} layout cannot express {name} {value!r}; only {only!r}")
    return settings
