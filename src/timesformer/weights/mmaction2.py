"""Checkpoints of mmaction2 (.pth): {meta, state_dict}, with "backbone." and "cls_head." names.

Files that this package writes carry the rest of a classifier in meta["timesformer"], which mmaction2 leaves alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from timesformer.config import Preprocessing, Sampling, Scheme
from timesformer.weights.description import Contents, describe, read_description
from timesformer.weights.labels import named_or_default
from timesformer.weights.names import check_expressible, count_blocks, expand, settings_of, to_ours, to_theirs
from timesformer.weights.storage import tensors_in, write_pickle
from timesformer.weights.wrappers import state_dict_in, without_wrappers

LAYERS = "backbone.transformer_layers.layers."
LAYER = LAYERS + "{i}."
KNOWN = ("backbone.cls_token",)
FRAMES = 8  # of the published configurations


def is_mmaction2(content: object) -> bool:
    """Whether a checkpoint's content has this layout."""
    return any(str(name).startswith(LAYERS) for name in without_wrappers(state_dict_in(content), KNOWN))


def load_mmaction2(content: Mapping[str, Any], source: Path, heads: int | None = None) -> Contents:
    """What a checkpoint's content holds. Raises WeightsError for another architecture."""
    tensors = without_wrappers(tensors_in(state_dict_in(content), source), KNOWN, source)
    scheme = _scheme(tensors)
    ours = to_ours(tensors, tensor_names(scheme, count_blocks(tensors, LAYERS)), source)
    meta = _plain(content.get("meta"))
    given = read_description(meta.get("timesformer"), source, ours)
    if given is None:
        settings = settings_of(ours, source, scheme=scheme, heads=heads, frames=FRAMES, position_resize="nearest")
        names = _plain(meta.get("dataset_meta")).get("classes") or meta.get("CLASSES")  # versions 1 and 0
        labels = named_or_default(names, settings.num_classes)
        given = Contents(settings, published_preprocessing(settings.num_frames), labels, {}, ours)
    return given


def save_mmaction2(contents: Contents, file: Path) -> None:
    """Write a checkpoint. Raises WeightsError for a model the layout cannot express."""
    settings = check_expressible(contents.settings, "mmaction2")
    names = tensor_names(settings.scheme_name, settings.dimensions.depth)
    meta = {"dataset_meta": {"classes": contents.labels}, "timesformer": describe(contents)}
    write_pickle({"meta": meta, "state_dict": to_theirs(contents.tensors, names)}, file)


def published_preprocessing(frames: int) -> Preprocessing:
    """The published configurations: 127.5 / 127.5, every 32nd frame for 8 frames, one clip from the middle.

    A span whose frames are exactly 256 / frames apart is as much longer than the frames as one gap is short.
    """
    gap = 256 / frames
    rate = (gap * (frames - 1) + 1) / frames
    half = (0.5, 0.5, 0.5)
    return Preprocessing(mean=half, std=half, sampling=Sampling(rate=rate))


def tensor_names(scheme: str, depth: int) -> dict[str, str]:
    """Their names to ours."""
    step = "joint" if scheme == "joint_space_time" else "space"
    templates = {
        "backbone.cls_token": "embedding.class_token",
        "backbone.pos_embed": "embedding.space_table",
        "backbone.patch_embed.projection.{p}": "embedding.projection.{p}",
        LAYER + "ffns.0.layers.0.0.{p}": "blocks.{i}.mlp.0.{p}",
        LAYER + "ffns.0.layers.1.{p}": "blocks.{i}.mlp.3.{p}",
        "backbone.norm.{p}": "norm.{p}",
        "cls_head.fc_cls.{p}": "head.{p}",
    }
    if scheme != "space_only":
        templates["backbone.time_embed"] = "embedding.time_table"
    if scheme == "divided_space_time":
        templates |= _attention("0", "time") | _attention("1", "space")
        templates |= {
            LAYER + "attentions.0.norm.{p}": "blocks.{i}.steps.time.norm.{p}",
            LAYER + "attentions.0.temporal_fc.{p}": "blocks.{i}.steps.time.fc.{p}",
            LAYER + "attentions.1.norm.{p}": "blocks.{i}.steps.space.norm.{p}",
            LAYER + "ffns.0.norm.{p}": "blocks.{i}.norm.{p}",
        }
    else:
        templates |= _attention("0", step)
        templates |= {
            LAYER + "norms.0.{p}": f"blocks.{{i}}.steps.{step}.norm.{{p}}",
            LAYER + "norms.1.{p}": "blocks.{i}.norm.{p}",
        }
    return expand(templates, depth)


def _plain(values: object) -> dict[str, Any]:
    return values if isinstance(values, dict) else {}


def _attention(number: str, step: str) -> dict[str, str]:
    ours = f"blocks.{{i}}.steps.{step}.attention."
    return {
        LAYER + f"attentions.{number}.attn.in_proj_{{p}}": ours + "qkv.{p}",
        LAYER + f"attentions.{number}.attn.out_proj.{{p}}": ours + "proj.{p}",
    }


def _scheme(tensors: Mapping[str, Tensor]) -> Scheme:
    if any("temporal_fc" in name for name in tensors):
        return "divided_space_time"
    return "joint_space_time" if "backbone.time_embed" in tensors else "space_only"
