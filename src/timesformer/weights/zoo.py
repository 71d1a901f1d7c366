"""What checkpoints of PyTorchVideo and PySlowFast are of: settings from their tensors, and how they were tested."""

from __future__ import annotations

import logging
from collections.abc import Mapping
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

WINDOW = {"i3d": 7, "slowfast": 7, "x3d_s": 5, "x3d_m": 7}  # of their training crops, a thirty-second
RATES = {"i3d": 8, "slowfast": 2, "x3d_s": 6, "x3d_m": 5}  # frames between two of a clip, at 30 a second
CLIPS, CROPS = 10, 3
SHORT_FRAMES = 13  # of X3D-S's clips, and fewer of X3D-XS's
logger = logging.getLogger(__name__)


def settings_of_zoo(tensors: Mapping[str, Tensor], content: Mapping[str, Any], source: object) -> ModelSettings:
    """The settings that tensors under their names imply; what they do not show is as published, or as `cfg` says.

    Raises WeightsError for another network of these projects.
    """
    theirs = "blocks.0.conv.conv_t.weight", "s1.pathway0_stem.conv_xy.weight"
    if any(name in tensors for name in theirs):
        return _x3d(tensors, content, source)
    two = ("blocks.0.multipathway_blocks.", ".conv.weight"), ("s1.pathway", "_stem.conv.weight")
    for before, after in two:
        if f"{before}1{after}" in tensors:
            return _slowfast(tensors, f"{before}0{after}", f"{before}1{after}", source)
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
        "pooling_window": WINDOW["i3d"],
    }
    return settings_from(I3DSettings, values, source)


def _slowfast(tensors: Mapping[str, Tensor], slow: str, fast: str, source: object) -> SlowFastSettings:
    stages = _stages(tensors, (1, 2, 3, 4), "multipathway_blocks.0.res_blocks.", "pathway0_res")
    lateral = _find(
        tensors, ("blocks.0.multipathway_fusion.conv_fast_to_slow.weight", "s1_fuse.conv_f2s.weight"), source
    )
    values = {
        "width": len(tensors[slow]),
        "beta": max(1, len(tensors[slow]) // max(1, len(tensors[fast]))),
        "fusion_kernel": lateral.shape[2],
        "depths": [count_blocks(tensors, prefix) for prefix in stages],
        "num_classes": len(_find(tensors, ("blocks.6.proj.weight", "head.projection.weight"), source)),
        "pooling_window": WINDOW["slowfast"],
    }
    return settings_from(SlowFastSettings, values, source)


def _x3d(tensors: Mapping[str, Tensor], content: Mapping[str, Any], source: object) -> X3DSettings:
    data = section(read_config(content, source), "DATA")
    frames = data.get("NUM_FRAMES")
    cls: type[X3DSettings] = X3DMediumSettings
    if isinstance(frames, int) and frames <= SHORT_FRAMES:
        cls = X3DSmallSettings
    if frames is None:
        logger.warning(
            "%s: the file does not say whether it is of X3D-S or X3D-M, which have the same tensors; assuming X3D-M, "
            "16 frames at rate 5",
            source,
        )
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
        "pooling_window": WINDOW[cls.model_fields["architecture"].default],
    }
    if isinstance(frames, int):
        values |= {
            "num_frames": frames,
            "image_size": data.get("TEST_CROP_SIZE", cls.model_fields["image_size"].default),
        }
    return settings_from(cls, values, source)


def published(settings: ModelSettings, content: Mapping[str, Any], source: object) -> Preprocessing:
    """The published protocol, 10 clips x 3 crops, or that of a PySlowFast file's `cfg`."""
    config = read_config(content, source)
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
