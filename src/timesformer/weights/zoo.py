"""What checkpoints of PyTorchVideo and PySlowFast are of: settings from their tensors, and how they were tested.

No tensor shows how many frames a clip has, their rate, its size, or how many frames SlowFast's slow pathway sees.
PySlowFast says so in a file's `cfg`, PyTorchVideo's zoo by the names of its files.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from timesformer.config import (
    I3DSettings,
    ModelSettings,
    Preprocessing,
    SlowFastSettings,
    X3DMediumSettings,
    X3DSmallSettings,
)
from timesformer.config.baselines import X3D_DEPTHS, X3D_WIDTHS, X3DSettings
from timesformer.errors import WeightsError
from timesformer.weights.names import count_blocks, settings_from
from timesformer.weights.official import read_config, section

TRAINED = {"i3d": 224, "slowfast": 224, "x3d_s": 160, "x3d_m": 224}  # side of their training crops
RATES = {"i3d": 8, "slowfast": 2, "x3d_s": 6, "x3d_m": 5}  # frames between two of a clip, at 30 a second
CLIPS, CROPS = 10, 3
SHORT_FRAMES = 13  # of X3D-S's clips, and fewer of X3D-XS's
SAID = {  # where a `cfg` says what no tensor shows
    "num_frames": ("DATA", "NUM_FRAMES"),
    "rate": ("DATA", "SAMPLING_RATE"),
    "image_size": ("DATA", "TEST_CROP_SIZE"),
    "alpha": ("SLOWFAST", "ALPHA"),
}
TRANSFORMS = {"x3d": "x3d_transform"}  # of blocks; bottleneck_transform elsewhere
SLOW = "blocks.0.multipathway_blocks.0.conv.weight", "s1.pathway0_stem.conv.weight"
FAST = "blocks.0.multipathway_blocks.1.conv.weight", "s1.pathway1_stem.conv.weight"
logger = logging.getLogger(__name__)


def _cfg(frames: int, rate: int, side: int, trained: int = 224, **slowfast: int) -> dict[str, dict[str, int]]:
    data = {"NUM_FRAMES": frames, "SAMPLING_RATE": rate, "TEST_CROP_SIZE": side, "TRAIN_CROP_SIZE": trained}
    return {"DATA": data, "SLOWFAST": slowfast}


# What the `cfg` of published files would say, by the names of the files, without case.
PUBLISHED = {
    "i3d_8x8_r50": _cfg(8, 8, 256),
    "slowfast_4x16_r50": _cfg(32, 2, 256, ALPHA=8),
    "slowfast_8x8_r50": _cfg(32, 2, 256, ALPHA=4),
    "slowfast_8x8_r101": _cfg(32, 2, 256, ALPHA=4),
    "slowfast_16x8_r101_50_50": _cfg(64, 2, 256, ALPHA=4),
    "x3d_xs": _cfg(4, 12, 182, 160),
    "x3d_s": _cfg(13, 6, 182, 160),
    "x3d_m": _cfg(16, 5, 256),
    "x3d_l": _cfg(16, 5, 356, 312),
}


def read_published(content: Mapping[str, Any], tensors: Mapping[str, Tensor], source: Path) -> dict[str, Any]:
    """A file's `cfg`; where that says nothing of clips, what the published file of its name and kind would say."""
    config, name = read_config(content, source), source.stem.lower()
    if "NUM_FRAMES" in section(config, "DATA") or not name.startswith(f"{_kind(tensors)}_"):
        return config
    return config | PUBLISHED.get(name, {})


def _kind(tensors: Mapping[str, Tensor]) -> str:
    """i3d stands for all networks of one pathway, too."""
    if not tensors.keys().isdisjoint(("blocks.0.conv.conv_t.weight", "s1.pathway0_stem.conv_xy.weight")):
        return "x3d"
    return "i3d" if tensors.keys().isdisjoint(FAST) else "slowfast"


def settings_of_zoo(tensors: Mapping[str, Tensor], config: Mapping[str, Any], source: Path) -> ModelSettings:
    """The settings that tensors under their names imply; what they do not show is as `config` says (`read_published`),
    or as of the network that is best known, with a warning.

    Raises WeightsError for another network of these projects, also where only `config` shows it, and for an X3D whose
    clips are unknown.
    """
    kind = _kind(tensors)
    _check_blocks(section(config, "RESNET"), TRANSFORMS.get(kind, "bottleneck_transform"), source)
    if kind != "i3d":
        return (_x3d if kind == "x3d" else _slowfast)(tensors, config, source)
    stem = next(tensors[name] for name in ("blocks.0.conv.weight", "s1.pathway0_stem.conv.weight") if name in tensors)
    if stem.ndim != 5 or stem.shape[2] != 5:
        raise WeightsError(
            f"{source}: a network whose first kernel is {tuple(stem.shape)}, such as C2D or Slow; expected I3D, "
            "SlowFast or X3D"
        )
    values = {
        "width": len(stem),
        "depths": [
            count_blocks(tensors, prefix) for prefix in _stages(tensors, (1, 3, 4, 5), "res_blocks.", "pathway0_res")
        ],
        "num_classes": len(_find(tensors, ("blocks.6.proj.weight", "head.projection.weight"), source)),
        "pooling_window": _training_crop(config, "i3d") // 32,
    }
    return settings_from(I3DSettings, values | _clips(I3DSettings, config, source), source)


def _check_blocks(resnet: Mapping[str, Any], transform: str, source: Path) -> None:
    """Raises WeightsError where a `cfg` has blocks that have the same tensors as ours, and compute something else."""
    for key, value, expected in (
        ("TRANS_FUNC", transform, transform),
        ("STRIDE_1X1", False, "False"),
        ("SPATIAL_DILATIONS", 1, "1 in all stages"),
    ):
        if key in resnet and any(one != value for one in _flat(resnet[key])):
            raise WeightsError(f"{source}: its cfg has RESNET.{key} {resnet[key]}; expected {expected}")


def _flat(value: Any) -> list[Any]:
    return [one for part in value for one in _flat(part)] if isinstance(value, list | tuple) else [value]


def _slowfast(tensors: Mapping[str, Tensor], config: Mapping[str, Any], source: Path) -> SlowFastSettings:
    slow, fast = _find(tensors, SLOW, source), _find(tensors, FAST, source)
    stages = _stages(tensors, (1, 2, 3, 4), "multipathway_blocks.0.res_blocks.", "pathway0_res")
    lateral = _find(
        tensors, ("blocks.0.multipathway_fusion.conv_fast_to_slow.weight", "s1_fuse.conv_f2s.weight"), source
    )
    values = {
        "width": len(slow),
        "beta": max(1, len(slow) // max(1, len(fast))),
        "fusion_kernel": lateral.shape[2],
        "depths": [count_blocks(tensors, prefix) for prefix in stages],
        "num_classes": len(_find(tensors, ("blocks.6.proj.weight", "head.projection.weight"), source)),
        "pooling_window": _training_crop(config, "slowfast") // 32,
    }
    return settings_from(SlowFastSettings, values | _clips(SlowFastSettings, config, source), source)


def _training_crop(config: Mapping[str, Any], architecture: str) -> int:
    """The side of the training crops; a thirty-second of it, X3D's rounded up, is the side of the pooling windows."""
    side = section(config, "DATA").get("TRAIN_CROP_SIZE")
    return side if isinstance(side, int) else TRAINED[architecture]


def _clips(cls: type[ModelSettings], config: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """What no tensor shows, with a warning that names what is assumed because `config` does not say it."""
    fields = cls.model_fields
    said = {name: section(config, group).get(key) for name, (group, key) in SAID.items() if name in {*fields, "rate"}}
    assumed = {
        name: RATES[fields["architecture"].default] if name == "rate" else fields[name].default
        for name, value in said.items()
        if value is None
    }
    if assumed:
        logger.warning(
            "%s: the file does not say which clips it takes; assuming %s: under its published name, such as "
            "SLOWFAST_4x16_R50.pyth, a file of PyTorchVideo's zoo needs no assumption",
            source,
            ", ".join(f"{name} {value}" for name, value in assumed.items()),
        )
    return {name: value for name, value in (said | assumed).items() if name != "rate"}


def _x3d(tensors: Mapping[str, Tensor], config: Mapping[str, Any], source: Path) -> X3DSettings:
    frames = section(config, "DATA").get("NUM_FRAMES")
    if not isinstance(frames, int):
        raise WeightsError(
            f"{source}: the file does not say which X3D it is, and X3D-XS, S and M have the same tensors; give it its "
            "published name: X3D_XS.pyth, X3D_S.pyth, X3D_M.pyth or X3D_L.pyth"
        )
    cls: type[X3DSettings] = X3DSmallSettings if frames <= SHORT_FRAMES else X3DMediumSettings
    stages = _stages(tensors, (1, 2, 3, 4), "res_blocks.", "pathway0_res")
    depths = [count_blocks(tensors, prefix) for prefix in stages]
    first, last = f"{stages[0]}0.", f"{stages[3]}0."  # factors are least rounded in the last stage
    narrow = _find(tensors, (f"{last}branch2.conv_c.weight", f"{last}branch2.c.weight"), source)
    norms = (f"{first}branch1_norm.weight", f"{first}branch1_bn.weight")
    values = {
        "width_factor": narrow.shape[0] / X3D_WIDTHS[-1],
        "depth_factor": min(depth / basic for depth, basic in zip(depths, X3D_DEPTHS, strict=True)),
        "bottleneck_factor": narrow.shape[1] / narrow.shape[0],
        "head_width": len(_find(tensors, ("blocks.5.pool.post_conv.weight", "head.lin_5.weight"), source)),
        "num_classes": len(_find(tensors, ("blocks.5.proj.weight", "head.projection.weight"), source)),
        "shortcut_norms": "all" if any(name in tensors for name in norms) else "wider",
        "pooling_window": math.ceil(_training_crop(config, cls.model_fields["architecture"].default) / 32),
    }
    return settings_from(cls, values | _clips(cls, config, source), source)


def published(settings: ModelSettings, config: Mapping[str, Any], source: Path) -> Preprocessing:
    """The published protocol, 10 clips x 3 crops, or that of a PySlowFast file's `cfg`."""
    data, test = section(config, "DATA"), section(config, "TEST")
    crops = test.get("NUM_SPATIAL_CROPS")
    values = {
        "mean": data.get("MEAN", [0.45] * 3),
        "std": data.get("STD", [0.225] * 3),
        "sampling": {"rate": data.get("SAMPLING_RATE", RATES[settings.architecture]), "fps": 30},
        "test_clips": test.get("NUM_ENSEMBLE_VIEWS", CLIPS),
        "test_crops": crops if crops in (1, 3) else CROPS,
    }
    return settings_from(Preprocessing, values, f"{source}: cfg")


def _stages(tensors: Mapping[str, Tensor], numbers: tuple[int, ...], blocks: str, paths: str) -> list[str]:
    """What the names of each stage's blocks begin with: of PyTorchVideo, whose stages have these numbers, or of
    PySlowFast."""
    if any(name.startswith("blocks.0.") for name in tensors):
        return [f"blocks.{number}.{blocks}" for number in numbers]
    return [f"s{stage}.{paths}" for stage in (2, 3, 4, 5)]


def _find(tensors: Mapping[str, Tensor], names: tuple[str, ...], source: object) -> Tensor:
    """The tensor of either name. Raises WeightsError where there is neither."""
    found = next((tensors[name] for name in names if name in tensors), None)
    if found is None or found.ndim < 2:
        raise WeightsError(f"{source}: tensors do not fit the layout: 1 missing ({' or '.join(names)})")
    return found
