"""Checkpoints of facebookresearch/TimeSformer (.pyth): {epoch, model_state, optimizer_state, cfg}.

`model_state` has the tensors under "model." names; `cfg` is the run's configuration as YAML text. Files that this
package writes carry the rest of a classifier under "timesformer", which the released code does not look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from timesformer.config import Preprocessing, Scheme, TimeSformerSettings
from timesformer.errors import WeightsError
from timesformer.weights.description import Contents, describe, read_description
from timesformer.weights.labels import default_labels
from timesformer.weights.names import (
    check_expressible,
    count_blocks,
    dimension_values,
    expand,
    settings_from,
    settings_of,
    to_ours,
    to_theirs,
)
from timesformer.weights.storage import tensors_in, write_pickle
from timesformer.weights.wrappers import state_dict_in, without_wrappers

KNOWN = ("model.cls_token", "cls_token")
BLOCK = "model.blocks.{i}."
SOMETHING_SOMETHING = {"channels": "bgr", "sampling": {"method": "segments"}}  # of the released weights
RATES = {8: 32, 16: 16, 96: 4}  # frames of the released variants: rate


def is_official(content: object) -> bool:
    """Whether a checkpoint's content has this layout; under another key than its own, a time table shows it.

    Without a time table its tensors are those of an image model.
    """
    if isinstance(content, dict) and isinstance(content.get("model_state"), dict):
        return True
    names = without_wrappers(state_dict_in(content), KNOWN)
    return not names.keys().isdisjoint(KNOWN) and any(str(name).endswith("time_embed") for name in names)


def load_official(content: Mapping[str, Any], source: Path, heads: int | None = None) -> Contents:
    """What a checkpoint's content holds. Raises WeightsError for another architecture."""
    tensors = without_wrappers(tensors_in(state_dict_in(content), source), KNOWN, source)
    if KNOWN[1] in tensors:
        tensors = {f"model.{name}": tensor for name, tensor in tensors.items()}
    config = read_config(content, source)
    scheme = _scheme(tensors, config, source)
    names = tensor_names(scheme, count_blocks(tensors, "model.blocks."))
    ours = to_ours(tensors, names, source)
    given = read_description(content.get("timesformer"), source, ours)
    if given is None:
        settings = settings_of(
            ours,
            source,
            scheme=scheme,
            heads=heads,
            position_resize="nearest",
            frames=section(config, "DATA").get("NUM_FRAMES", 8),
        )
        preprocessing = _preprocessing(config, settings.num_frames, settings.num_classes, source)
        given = Contents(settings, preprocessing, default_labels(settings.num_classes), {}, ours)
    return given


def save_official(contents: Contents, file: Path) -> None:
    """Write a checkpoint. Raises WeightsError for a model the layout cannot express."""
    settings, preprocessing = check_expressible(contents.settings, "official"), contents.preprocessing
    names = tensor_names(settings.scheme_name, settings.dimensions.depth)
    config = {
        "DATA": {
            "NUM_FRAMES": settings.num_frames,
            "SAMPLING_RATE": preprocessing.sampling.rate,
            "TRAIN_CROP_SIZE": settings.image_size,
            "TEST_CROP_SIZE": settings.image_size,
            "MEAN": list(preprocessing.mean),
            "STD": list(preprocessing.std),
        },
        "MODEL": {"ARCH": "vit", "MODEL_NAME": _model_name(settings), "NUM_CLASSES": settings.num_classes},
        "TEST": {"NUM_ENSEMBLE_VIEWS": preprocessing.test_clips, "NUM_SPATIAL_CROPS": preprocessing.test_crops},
        "TIMESFORMER": {"ATTENTION_TYPE": settings.scheme_name},
    }
    content = {
        "epoch": 0,
        "model_state": to_theirs(contents.tensors, names),
        "optimizer_state": {},
        "cfg": yaml.safe_dump(config),
        "timesformer": describe(contents),
    }
    write_pickle(content, file)


def tensor_names(scheme: str, depth: int) -> dict[str, str]:
    """Their names to ours."""
    step = "joint" if scheme == "joint_space_time" else "space"
    templates = {
        "model.cls_token": "embedding.class_token",
        "model.pos_embed": "embedding.space_table",
        "model.patch_embed.proj.{p}": "embedding.projection.{p}",
        BLOCK + "norm1.{p}": f"blocks.{{i}}.steps.{step}.norm.{{p}}",
        BLOCK + "attn.qkv.{p}": f"blocks.{{i}}.steps.{step}.attention.qkv.{{p}}",
        BLOCK + "attn.proj.{p}": f"blocks.{{i}}.steps.{step}.attention.proj.{{p}}",
        BLOCK + "norm2.{p}": "blocks.{i}.norm.{p}",
        BLOCK + "mlp.fc1.{p}": "blocks.{i}.mlp.0.{p}",
        BLOCK + "mlp.fc2.{p}": "blocks.{i}.mlp.3.{p}",
        "model.norm.{p}": "norm.{p}",
        "model.head.{p}": "head.{p}",
    }
    if scheme != "space_only":
        templates["model.time_embed"] = "embedding.time_table"
    if scheme == "divided_space_time":
        templates |= {
            BLOCK + "temporal_norm1.{p}": "blocks.{i}.steps.time.norm.{p}",
            BLOCK + "temporal_attn.qkv.{p}": "blocks.{i}.steps.time.attention.qkv.{p}",
            BLOCK + "temporal_attn.proj.{p}": "blocks.{i}.steps.time.attention.proj.{p}",
            BLOCK + "temporal_fc.{p}": "blocks.{i}.steps.time.fc.{p}",
        }
    return expand(templates, depth)


def _model_name(settings: TimeSformerSettings) -> str:
    """The released code's name of ViT-B/16, the one model it builds from a configuration; others in its manner."""
    named = dimension_values(settings.dimensions)
    size = named.get("size") or "_".join(f"{name}{number}" for name, number in settings.dimensions._asdict().items())
    return f"vit_{size}_patch{settings.patch_size}_224"


def _scheme(tensors: Mapping[str, Tensor], config: Mapping[str, Any], source: Path) -> Scheme:
    """The tensors decide: a time table is in all but space_only, attention over time in divided alone."""
    scheme: Scheme = "joint_space_time" if "model.time_embed" in tensors else "space_only"
    if any("temporal_attn" in name for name in tensors):
        scheme = "divided_space_time"
    named = section(config, "TIMESFORMER").get("ATTENTION_TYPE", scheme)
    if named != scheme:
        raise WeightsError(f"{source}: its configuration says ATTENTION_TYPE {named}, its tensors are of {scheme}")
    return scheme


def read_config(content: Mapping[str, Any], source: object) -> dict[str, Any]:
    """A checkpoint's `cfg`, which is YAML text; empty where it has none. Raises WeightsError for any other text."""
    try:
        config = yaml.safe_load(content.get("cfg") or "")
    except (yaml.YAMLError, AttributeError):
        raise WeightsError(f"{source}: its configuration (cfg) is not YAML text") from None
    return config if isinstance(config, dict) else {}


def section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A group of a configuration; empty where there is none."""
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _preprocessing(config: Mapping[str, Any], frames: int, classes: int, source: Path) -> Preprocessing:
    """The released protocol: Kinetics clips begin at the start of the video; Something-Something V2 has segments, and
    frames that OpenCV read as BGR."""
    data, test = section(config, "DATA"), section(config, "TEST")
    crops = test.get("NUM_SPATIAL_CROPS")
    rate = data.get("SAMPLING_RATE", RATES.get(frames, 256 / frames))
    values: dict[str, Any] = {
        "mean": data.get("MEAN", [0.45] * 3),
        "std": data.get("STD", [0.225] * 3),
        "sampling": {"rate": rate, "fps": 30, "single_clip": "start"},
        "test_clips": test.get("NUM_ENSEMBLE_VIEWS", 1),
        "test_crops": crops if crops in (1, 3) else 3,
    }
    dataset = section(config, "TRAIN").get("DATASET", "ssv2" if classes == 174 else "kinetics")
    if str(dataset).lower() == "ssv2":
        values |= SOMETHING_SOMETHING
    return settings_from(Preprocessing, values, f"{source}: cfg")
