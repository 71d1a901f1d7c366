"""Hugging Face folders of TimesformerForVideoClassification: config.json, preprocessor_config.json, tensors.

Folders that this package writes carry the rest of a classifier in config.json under "timesformer", which transformers
keeps and does not look at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from timesformer.config import ModelSettings, Preprocessing, Sampling, Scheme
from timesformer.errors import WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.card import model_card
from timesformer.weights.classifier import Classifier, load_strictly
from timesformer.weights.files import new_folder, read_json, read_pickle, read_safetensors
from timesformer.weights.labels import default_labels
from timesformer.weights.names import check_expressible, count_blocks, expand, settings_of, to_ours, to_theirs
from timesformer.weights.native import classifier_config, read_config
from timesformer.weights.official import RATES

LAYERS = "timesformer.encoder.layer."
LAYER = LAYERS + "{i}."
FILES = ("config.json", "preprocessor_config.json", "model.safetensors", "README.md")


def is_huggingface(config: Mapping[str, Any]) -> bool:
    """Whether a folder's config.json has this layout."""
    return config.get("model_type") == "timesformer"


def load_huggingface(folder: Path) -> Classifier:
    """The classifier of a folder. Raises WeightsError for another architecture or a setting that differs."""
    config = read_json(folder / "config.json")
    source = folder / "config.json"
    for name, only in (("hidden_act", "gelu"), ("qkv_bias", True), ("num_channels", 3)):
        if config.get(name, only) != only:
            raise WeightsError(f"{source}: {name} is {config[name]!r}; only {only!r} can be loaded")
    scheme = config.get("attention_type", "divided_space_time")
    tensors = read_tensors(folder)
    depth = count_blocks(tensors, LAYERS)
    ours = to_ours(tensors, tensor_names(scheme, depth), folder)
    given = read_config(config.get("timesformer"), source)
    if given is None:
        settings = settings_of(ours, folder, scheme=scheme, heads=config.get("num_attention_heads"),
                               frames=config.get("num_frames", 8), position_resize="nearest")  # fmt: skip
        changes = {"norm_epsilon": config.get("layer_norm_eps", 1e-6), "drop_path": config.get("drop_path_rate", 0.0)}
        settings = ModelSettings(**settings.model_dump() | changes)
        preprocessing, labels = _preprocessing(folder, settings.num_frames), _labels(config, settings.num_classes)
    else:
        settings, preprocessing, labels = given
    model = TimeSformer(**settings.model_dump()).eval()
    load_strictly(model, ours, folder)
    return Classifier(model, preprocessing, labels)


def save_huggingface(classifier: Classifier, folder: Path) -> None:
    """Write a folder that transformers loads. Raises WeightsError for a model the layout cannot express."""
    settings, preprocessing = classifier.model.settings, classifier.preprocessing
    check_expressible(settings, "huggingface")
    width, depth, heads = settings.dimensions
    labels = {str(number): name for number, name in enumerate(classifier.labels)}
    side = preprocessing.short_side or settings.image_size
    config = {
        "architectures": ["TimesformerForVideoClassification"],
        "model_type": "timesformer",
        "attention_type": settings.scheme,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": int(width * settings.mlp_ratio),
        "image_size": settings.image_size,
        "patch_size": settings.patch_size,
        "num_frames": settings.num_frames,
        "num_channels": 3,
        "hidden_act": "gelu",
        "qkv_bias": True,
        "layer_norm_eps": settings.norm_epsilon,
        "drop_path_rate": 0,  # transformers 5 takes whole numbers alone; ours is under "timesformer"
        "id2label": labels,
        "label2id": {name: int(number) for number, name in labels.items()},
        "timesformer": classifier_config(classifier),
    }
    processor = {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": side},
        "do_center_crop": True,
        "crop_size": {"height": settings.image_size, "width": settings.image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
    tensors = to_theirs(classifier.model.state_dict(), tensor_names(settings.scheme, depth))
    with new_folder(folder, FILES) as place:
        for name, values in (("config.json", config), ("preprocessor_config.json", processor)):
            (place / name).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
        save_file(tensors, place / "model.safetensors", metadata={"format": "pt"})
        (place / "README.md").write_text(model_card(classifier, {}), "utf-8")


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a Hugging Face folder: safetensors, in one file or several, or pytorch_model.bin."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        files = sorted(set(read_json(index).get("weight_map", {}).values()))
        return {name: tensor for file in files for name, tensor in read_safetensors(folder / file).items()}
    if (folder / "model.safetensors").is_file() or not (folder / "pytorch_model.bin").is_file():
        return read_safetensors(folder / "model.safetensors")
    tensors: dict[str, Tensor] = read_pickle(folder / "pytorch_model.bin")
    return tensors


def tensor_names(scheme: Scheme, depth: int) -> dict[str, str]:
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


def _labels(config: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    names = config.get("id2label") or {}
    if len(names) != classes or all(name == f"LABEL_{number}" for number, name in names.items()):
        return default_labels(classes)
    return tuple(names[str(number)] for number in range(classes))


def _preprocessing(folder: Path, frames: int) -> Preprocessing:
    """Pixel scale and size of the processor; which frames is not said anywhere, so the released code's spans."""
    file = folder / "preprocessor_config.json"
    processor = read_json(file) if file.is_file() else {}
    size = processor.get("size", {})
    side = size.get("shortest_edge") if isinstance(size, dict) else size
    return Preprocessing(
        short_side=side,
        mean=tuple(processor.get("image_mean", (0.45,) * 3)),
        std=tuple(processor.get("image_std", (0.225,) * 3)),
        sampling=Sampling(rate=RATES.get(frames, 256 / frames)),
    )
