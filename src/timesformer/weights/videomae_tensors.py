"""VideoMAE's tensors as transformers names and shapes them, and ours: names, tubelets, queries, keys and values, table.

Biases of queries and values are `q_bias` and `v_bias` in files, but `query.bias` and `value.bias` where transformers 5
has written them before it read its older files again; then there is a `key.bias` too. Elsewhere keys have no bias, and
a bias of zero here. Whatever it is changes nothing, since it moves all scores of a query alike: it is not written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from timesformer.config import TimeSformerSettings
from timesformer.errors import WeightsError
from timesformer.model.embed import sinusoids
from timesformer.weights.names import QKV, count_blocks, expand, join_attention, to_ours, to_theirs

BODY = "videomae."  # what the encoder's names begin with, but in a file of the encoder alone
PROJECTION = "embeddings.patch_embeddings.projection.weight"
KNOWN = (BODY + PROJECTION, PROJECTION)
LAYERS = "encoder.layer."
LAYER = LAYERS + "{i}."
SELF = LAYER + "attention.attention."
BIASES = {"q_bias": "query", "v_bias": "value"}  # theirs, and what they are of
BIASES_OF_LAYERS = {"query.bias": "query", "value.bias": "value"}
BIAS_OF_KEYS = {"key.bias": "key"}
OUR_PROJECTION = "embedding.projection.weight"
OUR_ATTENTION = "blocks.{i}.steps.joint.attention."


def from_videomae(tensors: Mapping[str, Tensor], body: str, more: Mapping[str, str], source: Path) -> dict[str, Tensor]:
    """Ours, but for the fixed table. body: what the encoder's names begin with. more: templates of further names.

    Raises WeightsError for a tensor that is missing, unknown or of a shape that ours cannot be made of.
    """
    depth = count_blocks(tensors, body + LAYERS)
    ours = to_ours(tensors, _names(depth, body, more, _biases(tensors, body)), source)
    projection = ours[OUR_PROJECTION]
    if projection.ndim != 5 or projection.shape[1] != 3:
        raise WeightsError(
            f"{source}: tensors do not fit the model: 1 misshapen ({body}{PROJECTION} {tuple(projection.shape)}, "
            "not of width, 3 colours, frames, rows and columns)"
        )
    ours[OUR_PROJECTION] = projection.flatten(1, 2)
    for block in range(depth):
        join_attention(ours, block, OUR_ATTENTION.format(i=block) + "qkv", source)
    return ours


def to_videomae(tensors: Mapping[str, Tensor], depth: int, more: Mapping[str, str]) -> dict[str, Tensor]:
    """Theirs, of ours but for the fixed table."""
    ours = dict(tensors)
    ours[OUR_PROJECTION] = ours[OUR_PROJECTION].unflatten(1, (3, -1))
    for block in range(depth):
        for part in ("weight", "bias"):
            qkv = ours.pop(OUR_ATTENTION.format(i=block) + f"qkv.{part}")
            ours |= {f"blocks.{block}.{name}.{part}": each for name, each in zip(QKV, qkv.chunk(3), strict=True)}
        del ours[f"blocks.{block}.key.bias"]
    return to_theirs(ours, _names(depth, BODY, more, BIASES))


def fixed_table(settings: TimeSformerSettings) -> Tensor:
    """The table (T, N, D) of VideoMAE for clips of this shape."""
    frames, side = settings.num_frames // settings.tubelet, settings.image_size // settings.patch_size
    return sinusoids(frames * side**2, settings.dimensions.width).view(frames, side**2, -1)


def _biases(tensors: Mapping[str, Tensor], body: str) -> dict[str, str]:
    first = (body + SELF).format(i=0)
    if first + "query.bias" not in tensors:
        return BIASES
    return BIASES_OF_LAYERS | BIAS_OF_KEYS if first + "key.bias" in tensors else BIASES_OF_LAYERS


def _names(depth: int, body: str, more: Mapping[str, str], biases: Mapping[str, str]) -> dict[str, str]:
    """Their names to ours. biases: as BIASES."""
    templates = {
        "embeddings.patch_embeddings.projection.{p}": "embedding.projection.{p}",
        LAYER + "layernorm_before.{p}": "blocks.{i}.steps.joint.norm.{p}",
        **{SELF + bias: f"blocks.{{i}}.{name}.bias" for bias, name in biases.items()},
        **{SELF + f"{name}.weight": f"blocks.{{i}}.{name}.weight" for name in QKV},
        LAYER + "attention.output.dense.{p}": OUR_ATTENTION + "proj.{p}",
        LAYER + "layernorm_after.{p}": "blocks.{i}.norm.{p}",
        LAYER + "intermediate.dense.{p}": "blocks.{i}.mlp.0.{p}",
        LAYER + "output.dense.{p}": "blocks.{i}.mlp.3.{p}",
    }
    return expand({body + theirs: ours for theirs, ours in templates.items()} | dict(more), depth)
