"""Hugging Face folders of TimesformerForVideoClassification: config.json, processors, tensors.

Folders that this package writes carry the rest of a classifier in config.json under "timesformer", which transformers
keeps and does not look at. Where transformers has changed what both say (a fine-tuned copy), its word counts.

transformers feeds RGB: a model that expects BGR is written with its patch projection's channels turned around.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timesformer.config import Preprocessing, TimeSformerSettings
from timesformer.errors import WeightsError
from timesformer.weights.agreement import check_agreement
from timesformer.weights.card import model_card
from timesformer.weights.description import Contents, describe, read_description
from timesformer.weights.labels import named_or_default
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
from timesformer.weights.processor import PROCESSOR, VIDEO_PROCESSOR, processor_files, read_processor
from timesformer.weights.shards import read_tensors
from timesformer.weights.snippet import transformers_section
from timesformer.weights.storage import new_folder, read_json, write_safetensors
from timesformer.weights.wrappers import without_wrappers

LAYERS = "timesformer.encoder.layer."
LAYER = LAYERS + "{i}."
KNOWN = ("timesformer.embeddings.cls_token",)
PROJECTION = "embedding.projection.weight"
EXPRESSIBLE = ("space_only", "joint_space_time", "divided_space_time")
PROBLEMS = ("single_label_classification", "multi_label_classification")
FILES = ("config.json", PROCESSOR, VIDEO_PROCESSOR, "model.safetensors", "README.md")


def is_huggingface(config: Mapping[str, Any]) -> bool:
    """Whether a folder's config.json has this layout."""
    return config.get("model_type") == "timesformer"


def load_huggingface(folder: Path) -> Contents:
    """What a folder holds. Raises WeightsError for another architecture or a setting that differs."""
    source = folder / "config.json"
    config = read_json(source)
    for name, only in (("hidden_act", "gelu"), ("qkv_bias", True), ("num_channels", 3)):
        if config.get(name, only) != only:
            raise WeightsError(f"{source}: {name} is {config[name]!r}; only {only!r} can be loaded")
    scheme = config.get("attention_type", "divided_space_time")
    if scheme not in EXPRESSIBLE:
        raise WeightsError(f"{source}: attention_type is {scheme!r}; expected {', '.join(EXPRESSIBLE)}")
    problem = config.get("problem_type") or PROBLEMS[False]
    if problem not in PROBLEMS:
        raise WeightsError(f"{source}: problem_type is {problem!r}; expected {' or '.join(PROBLEMS)}")
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
        "multilabel": problem == PROBLEMS[True],
    }
    settings = settings_from(TimeSformerSettings, found.model_dump() | more, source)
    given = read_description(config.get("timesformer"), source, ours)
    if given is None:
        labels = _labels(config, settings.num_classes, None, source)
        return Contents(settings, read_processor(folder, settings, _released(settings)), labels, {}, ours)
    if given.preprocessing.channels == "bgr":
        ours[PROJECTION] = ours[PROJECTION].flip(1)
    same = isinstance(given.settings, TimeSformerSettings) and _known(given.settings) == _known(settings)
    return given._replace(
        settings=given.settings if same else settings,
        preprocessing=read_processor(folder, settings, given.preprocessing),
        labels=_labels(config, settings.num_classes, given.labels, source),
    )


def save_huggingface(contents: Contents, folder: Path) -> None:
    """Write a folder that transformers loads. Raises WeightsError for a model the layout cannot express."""
    settings, preprocessing = (
        check_expressible(contents.settings, "huggingface", norm_epsilon=None, multilabel=None),
        contents.preprocessing,
    )
    width, depth, heads = settings.dimensions
    labels = {str(number): name for number, name in enumerate(contents.labels)}
    config = {
        "architectures": ["TimesformerForVideoClassification"],
        "model_type": "timesformer",
        "attention_type": settings.scheme_name,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": settings.hidden,
        "image_size": settings.image_size,
        "patch_size": settings.patch_size,
        "num_frames": settings.num_frames,
        "num_channels": 3,
        "hidden_act": "gelu",
        "qkv_bias": True,
        "layer_norm_eps": settings.norm_epsilon,
        "drop_path_rate": 0,  # transformers 5 takes whole numbers alone; ours is under "timesformer"
        **({"problem_type": PROBLEMS[True]} if settings.multilabel else {}),  # otherwise transformers asks the labels
        "id2label": labels,
        "label2id": {name: int(number) for number, name in labels.items()},
        "timesformer": describe(contents),
    }
    ours = dict(contents.tensors)
    if preprocessing.channels == "bgr":
        ours[PROJECTION] = ours[PROJECTION].flip(1)
    tensors = to_theirs(ours, tensor_names(settings.scheme_name, depth))
    with new_folder(folder, FILES) as new:
        for name, values in {"config.json": config, **processor_files(preprocessing, settings)}.items():
            (new / name).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
        write_safetensors(tensors, new / "model.safetensors")
        (new / "README.md").write_text(model_card(contents) + transformers_section(settings, preprocessing), "utf-8")


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


def _known(settings: TimeSformerSettings) -> tuple[Any, ...]:
    """What tensors and config.json say of a model; other settings are this package's own."""
    hidden = settings.hidden
    names = ("scheme", "image_size", "patch_size", "num_frames", "num_classes", "norm_epsilon", "multilabel")
    return (settings.dimensions, hidden, *(getattr(settings, name) for name in names))


def _labels(config: Mapping[str, Any], classes: int, given: tuple[str, ...] | None, source: Path) -> tuple[str, ...]:
    named = config.get("id2label")
    if isinstance(named, dict):
        if set(named) != {str(number) for number in range(classes)}:
            raise WeightsError(
                f"{source}: id2label has {len(named)} names, the tensors {classes} classes; expected "
                f"one for each of 0 to {classes - 1}"
            )
        if not all(str(name).startswith("LABEL_") for name in named.values()):
            return tuple(str(named[str(number)]) for number in range(classes))
    return named_or_default(given, classes)


def _released(settings: TimeSformerSettings) -> Preprocessing:
    """The folder does not say which frames its processor expects: those of the released code."""
    rate = RATES.get(settings.num_frames, 256 / settings.num_frames)
    values = SOMETHING_SOMETHING if settings.num_classes == 174 else {"sampling": {"rate": rate}}
    return Preprocessing(**values)
