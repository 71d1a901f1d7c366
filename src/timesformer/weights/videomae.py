"""Hugging Face folders of VideoMAE (Tong et al., 2022): its classifier, and encoders to initialise from.

VideoMAE is a TimeSformer of joint attention with patches of two frames, a fixed table of sines and cosines, no class
token and a head on the mean of all patches.

    VideoMAEForVideoClassification    read and written; without mean pooling its head sees the first patch
    VideoMAEForPreTraining            read to initialise from; its decoder is not used
    VideoMAEModel                     the same without a decoder
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timesformer.config import Dimensions, ModelSettings, Preprocessing, Sampling, TimeSformerSettings
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
from timesformer.weights.names import count_blocks, dimension_values, settings_from
from timesformer.weights.opened import read_settled
from timesformer.weights.processor import read_processor
from timesformer.weights.shards import read_tensors
from timesformer.weights.storage import read_json
from timesformer.weights.videomae_tensors import BODY, KNOWN, OUR_PROJECTION, fixed_table, from_videomae, to_videomae
from timesformer.weights.vit import IMAGENET
from timesformer.weights.wrappers import without_wrappers

CLASSIFIER = "VideoMAEForVideoClassification"
TABLE = "embedding.fixed_table"
DECODER = ("decoder.", "encoder_to_decoder.", "mask_token")
HEAD_NORM_EPSILON = 1e-5  # of fc_norm, whatever the configuration says


class Encoder(NamedTuple):
    """A pretrained encoder: contents without a head or labels and, in words, what was not used and what is new."""

    contents: Contents
    note: str


def is_videomae(config: Mapping[str, Any]) -> bool:
    """Whether a folder's config.json is VideoMAE's, of a classifier or of an encoder."""
    return config.get("model_type") == "videomae"


def is_encoder(config: Mapping[str, Any]) -> bool:
    """Whether it is that of an encoder without a head."""
    return is_videomae(config) and CLASSIFIER not in (config.get("architectures") or [CLASSIFIER])


def load_videomae(folder: Path) -> Contents:
    """What the folder of a classifier holds. Raises WeightsError for tensors or a setting that differ."""
    source = folder / "config.json"
    config = read_json(source)
    mean = config.get("use_mean_pooling", True)
    values = {"pooling": "mean" if mean else "first_patch", "multilabel": is_multilabel(config, source)}
    given = without_wrappers(read_tensors(folder), KNOWN, folder)
    settings, tensors = _read(folder, config, given, BODY, _head_names(mean=mean), values)
    return complete(settings, tensors, config, folder, _released(settings))


def read_encoder(path: Path) -> Encoder | None:
    """The encoder that a folder holds; None for anything else. Raises WeightsError as `load_videomae`."""
    if not path.is_dir() or not is_encoder(read_json(path / "config.json")):
        return None
    return read_settled(path, functools.partial(_read_encoder, path))


def _read_encoder(folder: Path) -> Encoder:
    config = read_json(folder / "config.json")
    given = without_wrappers(read_tensors(folder), KNOWN, folder)
    tensors = {name: tensor for name, tensor in given.items() if not name.startswith(DECODER)}
    body = BODY if any(name.startswith(BODY) for name in tensors) else ""
    has_norm = not config.get("use_mean_pooling", True)
    more = {body + "layernorm.{p}": "norm.{p}"} if has_norm else {}
    settings, ours = _read(folder, config, tensors, body, more, {"pooling": "mean"})
    notes = ["a pretrained encoder without a head"]
    if len(given) > len(tensors):
        notes.append(f"the {len(given) - len(tensors)} tensors of its decoder ({', '.join(DECODER)}) are not used")
    if not has_norm:
        width = settings.dimensions.width
        ours |= {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
        notes.append("the norm before the head is new")
    contents = Contents(settings, read_processor(folder, settings, _released(settings)), (), {}, ours)
    return Encoder(contents, "; ".join(notes))


def _read(
    folder: Path,
    config: Mapping[str, Any],
    tensors: dict[str, Tensor],
    body: str,
    more: dict[str, str],
    values: dict[str, Any],
) -> tuple[TimeSformerSettings, dict[str, Tensor]]:
    """Settings and tensors of a folder. body, more: as `from_videomae` has them. values: further settings."""
    source = folder / "config.json"
    check_config(config, {"hidden_act": "gelu", "qkv_bias": True, "qv_bias": True, "num_channels": 3}, source)
    ours = from_videomae(tensors, body, more, folder)
    check_agreement(config, ours, source)
    width, channels, _, patch = ours[OUR_PROJECTION].shape
    dimensions = Dimensions(width, count_blocks(ours, "blocks."), config.get("num_attention_heads", 12))
    settings = settings_from(
        TimeSformerSettings,
        {
            **dimension_values(dimensions),
            "mlp_ratio": ours["blocks.0.mlp.0.weight"].shape[0] / width,
            "scheme": "joint_space_time",
            "num_frames": config.get("num_frames", 16),
            "image_size": _side(config.get("image_size", 224), source),
            "tubelet": channels // 3,
            "patch_size": patch,
            "num_classes": len(ours["head.weight"]) if "head.weight" in ours else 1,
            "class_token": False,
            "position": "sinusoidal",
            "norm_epsilon": config.get("layer_norm_eps", 1e-12),
            "last_norm_epsilon": HEAD_NORM_EPSILON if values["pooling"] == "mean" else None,
            "drop_path": 0.0,
            **values,
        },
        source,
    )
    return settings, ours | {TABLE: fixed_table(settings)}


def save_videomae(contents: Contents, folder: Path) -> None:
    """Write the folder of a classifier that transformers loads. Raises WeightsError for a model it cannot express."""
    settings = contents.settings
    assert isinstance(settings, TimeSformerSettings)
    mean = settings.pooling == "mean"
    epsilon = HEAD_NORM_EPSILON if mean else settings.norm_epsilon
    for name, value, only in (
        ("pooling", settings.pooling, "mean" if mean else "first_patch"),
        ("position", settings.position, "sinusoidal"),
        ("last_norm_epsilon", settings.last_norm_epsilon or settings.norm_epsilon, epsilon),
    ):
        if value != only:
            raise WeightsError(f"the layout of VideoMAE cannot express {name} {value!r}; only {only!r}")
    tensors = tensors_for_rgb(contents)
    if not torch.equal(tensors.pop(TABLE).cpu(), fixed_table(settings)):
        raise WeightsError("the layout of VideoMAE cannot express a resized table; only that of the weights' own clips")
    theirs = to_videomae(tensors, settings.dimensions.depth, _head_names(mean=mean))
    config = {
        "architectures": [CLASSIFIER],
        "model_type": "videomae",
        "tubelet_size": settings.tubelet,
        "use_mean_pooling": mean,
        "qkv_bias": True,
    }
    write_folder(folder, contents, settings, config, theirs, video_processor="VideoMAEVideoProcessor")


def is_expressible(settings: ModelSettings) -> bool:
    """Whether a model is to be written as VideoMAE's, if at all: one without a class token."""
    return isinstance(settings, TimeSformerSettings) and not settings.class_token


def _head_names(*, mean: bool) -> dict[str, str]:
    return {"fc_norm.{p}" if mean else BODY + "layernorm.{p}": "norm.{p}", "classifier.{p}": "head.{p}"}


def _side(pixels: object, source: Path) -> object:
    """The side of square frames, of which a configuration may give height and width."""
    if not isinstance(pixels, list | tuple):
        return pixels
    if len(set(pixels)) != 1:
        raise WeightsError(f"{source}: image_size is {pixels!r}; expected a square")
    return pixels[0]


def _released(settings: TimeSformerSettings) -> Preprocessing:
    """As VideoMAE is fine-tuned and tested: on Kinetics every fourth frame and 5 clips, on Something-Something
    segments and 2 clips, 3 crops each."""
    segments = settings.num_classes == 174
    sampling = Sampling(method="segments") if segments else Sampling(rate=4)
    return Preprocessing(mean=IMAGENET[0], std=IMAGENET[1], sampling=sampling, test_clips=2 if segments else 5)
