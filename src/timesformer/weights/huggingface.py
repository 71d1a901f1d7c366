"""Hugging Face folders of TimesformerForVideoClassification: config.json, processors, tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timesformer.config import Preprocessing, TimeSformerSettings
from timesformer.errors import WeightsError
from timesformer.weights.agreement import check_agreement
from timesformer.weights.description import Contents
from timesformer.weights.huggingface_folder import (
    check_config,
    complete,
    is_multilabel,
    tensors_for_rgb,
    write_folder,
)
from timesformer.weights.names import (
    check_expressible,
    count_blocks,
    expand,
    settings_from,
    settings_of,
    to_ours,
    to_theirs,
)
from timesformer.weights.official import RATES, SOMETHING_SOMETHING
from timesformer.weights.shards import read_tensors
from timesformer.weights.storage import read_json
from timesformer.weights.wrappers import without_wrappers

LAYERS = "timesformer.encoder.layer."
LAYER = LAYERS + "{i}."
KNOWN = ("timesformer.embeddings.cls_token",)
EXPRESSIBLE = ("space_only", "joint_space_time", "divided_space_time")


def is_huggingface(config: Mapping[str, Any]) -> bool:
    """Whether a folder's config.json has this layout."""
    return config.get("model_type") == "timesformer"


def load_huggingface(folder: Path) -> Contents:
    """What a folder holds. Raises WeightsError for another architecture or a setting that differs."""
    source = folder / "config.json"
    config = read_json(source)
    check_config(config, {"hidden_act": "gelu", "qkv_bias": True, "num_channels": 3}, source)
    scheme = config.get("attention_type", "divided_space_time")
    if scheme not in EXPRESSIBLE:
        raise WeightsError(f"{source}: attention_type is {scheme!r}; expected {', '.join(EXPRESSIBLE)}")
    multilabel = is_multilabel(config, source)
    tensors = without_wrappers(read_tensors(folder), KNOWN, folder)
    ours = to_ours(tensors, tensor_names(scheme, count_blocks(tensors, LAYERS)), folder)
    check_agreement(config, ours, source)
    found = settings_of(
        ours,
        folder,
        scheme=scheme,
        heads=config.get("num_attention_heads", 12),
        frames=config.get("num_frames", 8),
        position_resize="nearest",
    )
    more = {
        "norm_epsilon": config.get("layer_norm_eps", 1e-6),
        "drop_path": config.get("drop_path_rate", 0.0),
        "multilabel": multilabel,
    }
    settings = settings_from(TimeSformerSettings, found.model_dump() | more, source)
    return complete(settings, ours, config, folder, _released(settings))


def save_huggingface(contents: Contents, folder: Path) -> None:
    """Write a folder that transformers loads. Raises WeightsError for a model the layout cannot express."""
    settings = check_expressible(contents.settings, "huggingface", norm_epsilon=None, multilabel=None)
    config = {
        "architectures": ["TimesformerForVideoClassification"],
        "model_type": "timesformer",
        "attention_type": settings.scheme_name,
        "qkv_bias": True,
        "drop_path_rate": 0,  # transformers 5 takes whole numbers alone; ours is under "timesformer"
    }
    tensors = to_theirs(tensors_for_rgb(contents), tensor_names(settings.scheme_name, settings.dimensions.depth))
    write_folder(folder, contents, settings, config, tensors, video_processor="TimesformerVideoProcessor")


def tensor_names(scheme: str, depth: int) -> dict[str, str]:
    """Their names to ours."""
    step = "joint" if scheme == "joint_space_time" else "space"
    templates = {
        "timesformer.embeddings.cls_token": "embedding.class_token",
        "timesformer.embeddings.position_embeddings": "embedding.space_table",
        "timesformer.embeddings.patch_embeddings.projection.{p}": "embedding.projection.{p}",
        LAYER + "layernorm_before.{p}": f"blocks.{{i}}.steps.{step}.norm.{{p}}",
        LAYER + "attention.attention.qkv.{p}": f"blocks.{{i}}.steps.{step}.attention.qkv.{{p}}",
        LAYER + "attention.output.dense.{p}": f"blocks.{{i}}.steps.{step}.attention.proj.{{p}}",
        LAYER + "layernorm_after.{p}": "blocks.{i}.norm.{p}",
        LAYER + "intermediate.dense.{p}": "blocks.{i}.mlp.0.{p}",
        LAYER + "output.dense.{p}": "blocks.{i}.mlp.3.{p}",
        "timesformer.layernorm.{p}": "norm.{p}",
        "classifier.{p}": "head.{p}",
    }
    if scheme != "space_only":
        templates["timesformer.embeddings.time_embeddings"] = "embedding.time_table"
    if scheme == "divided_space_time":
        templates |= {
            LAYER + "temporal_layernorm.{p}": "blocks.{i}.steps.time.norm.{p}",
            LAYER + "temporal_attention.attention.qkv.{p}": "blocks.{i}.steps.time.attention.qkv.{p}",
            LAYER + "temporal_attention.output.dense.{p}": "blocks.{i}.steps.time.attention.proj.{p}",
            LAYER + "temporal_dense.{p}": "blocks.{i}.steps.time.fc.{p}",
        }
    return expand(templates, depth)


def _released(settings: TimeSformerSettings) -> Preprocessing:
    """The folder does not say which frames its processor expects: those of the released code."""
    rate = RATES.get(settings.num_frames, 256 / settings.num_frames)
    values = SOMETHING_SOMETHING if settings.num_classes == 174 else {"sampling": {"rate": rate}}
    return Preprocessing(**values)
