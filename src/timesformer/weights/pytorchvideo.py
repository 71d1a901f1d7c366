"""Checkpoints of PyTorchVideo's model zoo and of PySlowFast (.pyth): I3D, SlowFast and X3D.

    PyTorchVideo  {model_state}             blocks.1.res_blocks.0.branch2.conv_a.weight
    PySlowFast    {epoch, model_state, cfg} s2.pathway0_res0.branch2.a.weight

The tensors are the same under different names, but for one norm of X3D (`shortcut_norms`). Files that this package
writes carry the rest of a classifier under "timesformer", which neither of them looks at.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from timesformer.baselines.architectures import build_model
from timesformer.baselines.resnet import stage_of
from timesformer.config import I3DSettings, ModelSettings, SlowFastSettings
from timesformer.config.baselines import X3DSettings
from timesformer.errors import WeightsError
from timesformer.weights.description import Contents, describe, read_description
from timesformer.weights.labels import default_labels
from timesformer.weights.names import fill_counters, to_ours, to_theirs
from timesformer.weights.storage import tensors_in, write_pickle
from timesformer.weights.wrappers import state_dict_in, without_wrappers
from timesformer.weights.zoo import published, read_published, settings_of_zoo

PYTORCHVIDEO = ("blocks.0.conv.weight", "blocks.0.conv.conv_t.weight", "blocks.0.multipathway_blocks.0.conv.weight")
PYSLOWFAST = ("s1.pathway0_stem.conv.weight",)
ZooSettings = I3DSettings | SlowFastSettings | X3DSettings


def is_pytorchvideo(content: object) -> bool:
    """Whether a checkpoint's content has one of these layouts."""
    known = PYTORCHVIDEO + PYSLOWFAST
    return not without_wrappers(state_dict_in(content), known).keys().isdisjoint(known)


def load_pytorchvideo(content: Mapping[str, Any], source: Path) -> Contents:
    """What a checkpoint's content holds. Raises WeightsError for another architecture."""
    tensors = without_wrappers(tensors_in(state_dict_in(content), source), PYTORCHVIDEO + PYSLOWFAST, source)
    slowfast_names = PYSLOWFAST[0] in tensors
    given = read_description(content.get("timesformer"), source, {})
    config = read_published(content, tensors, source)
    settings = settings_of_zoo(tensors, config, source) if given is None else given.settings
    names = tensor_names(check_zoo(settings, "PyTorchVideo"), slowfast_names=slowfast_names)
    ours = to_ours(fill_counters(tensors, names), names, source)
    if given is not None:
        return given._replace(tensors=ours)
    return Contents(settings, published(settings, config, source), default_labels(settings.num_classes), {}, ours)


def save_pytorchvideo(contents: Contents, file: Path) -> None:
    """Write a checkpoint of PyTorchVideo's. Raises WeightsError for a model that the layout cannot express."""
    write_pickle({"model_state": _theirs(contents, "PyTorchVideo"), "timesformer": describe(contents)}, file)


def save_pyslowfast(contents: Contents, file: Path) -> None:
    """Write a checkpoint of PySlowFast's. Raises WeightsError for a model that the layout cannot express."""
    content = {"epoch": 0, "model_state": _theirs(contents, "PySlowFast"), "timesformer": describe(contents)}
    write_pickle(content, file)


def _theirs(contents: Contents, layout: str) -> dict[str, Tensor]:
    settings = check_zoo(contents.settings, layout)
    slowfast_names = layout == "PySlowFast"
    if isinstance(settings, X3DSettings):
        only = "all" if slowfast_names else "wider"
        if settings.shortcut_norms != only:
            raise WeightsError(f"the {layout} layout has shortcut_norms {only}, not {settings.shortcut_norms}")
    return to_theirs(contents.tensors, tensor_names(settings, slowfast_names=slowfast_names))


def check_zoo(settings: ModelSettings, layout: str) -> ZooSettings:
    """Raises WeightsError for a model of another architecture than these layouts have."""
    if not isinstance(settings, I3DSettings | SlowFastSettings | X3DSettings):
        raise WeightsError(
            f"the {layout} layout has no architecture {settings.architecture}; it has i3d, slowfast, x3d_s and x3d_m"
        )
    return settings


def tensor_names(settings: ZooSettings, *, slowfast_names: bool) -> dict[str, str]:
    """Their names to ours, of PySlowFast or of PyTorchVideo."""
    modules = _pyslowfast(settings) if slowfast_names else _pytorchvideo(settings)
    with torch.device("meta"):
        ours = build_model(settings).state_dict()
    names = {}
    for name in ours:
        module, _, part = name.rpartition(".")
        names[f"{modules[module]}.{part}"] = name
    return names


def _pytorchvideo(settings: ZooSettings) -> dict[str, str]:
    """Our modules to PyTorchVideo's."""
    two, x3d = isinstance(settings, SlowFastSettings), isinstance(settings, X3DSettings)
    found = {
        "head": f"blocks.{5 if x3d else 6}.proj",
        "stem.space.conv": "blocks.0.conv.conv_t",  # its names are those of another order of convolutions
        "stem.time.conv": "blocks.0.conv.conv_xy",
        "stem.time.norm": "blocks.0.norm",
        "last.conv": "blocks.5.pool.pre_conv",
        "last.norm": "blocks.5.pool.pre_norm",
        "widen": "blocks.5.pool.post_conv",
    }
    for number, pathway in enumerate(_pathways(settings)):
        inside = f"multipathway_blocks.{number}." if two else ""
        found |= {f"stem.{pathway}{kind}": f"blocks.0.{inside}{kind}" for kind in ("conv", "norm")}
        for block, (stage, place) in enumerate(stage_of(settings.depths)):
            after_pooling = isinstance(settings, I3DSettings) and stage > 0
            ours = f"blocks.{block}.{pathway}"
            theirs = f"blocks.{stage + 1 + after_pooling}.{inside}res_blocks.{place}."
            for kind in ("conv", "norm"):
                found |= {f"{ours}{part}.{kind}": f"{theirs}branch2.{kind}_{part}" for part in "abc"}
                found[f"{ours}shortcut.{kind}"] = f"{theirs}branch1_{kind}"
            if x3d:
                found[f"{ours}b.norm"] = f"{theirs}branch2.norm_b.0"
                found[f"{ours}excitation.squeeze"] = f"{theirs}branch2.norm_b.1.block.0"
                found[f"{ours}excitation.excite"] = f"{theirs}branch2.norm_b.1.block.2"
    for ours, stage in _laterals(settings).items():
        found[f"{ours}.conv"] = f"blocks.{stage}.multipathway_fusion.conv_fast_to_slow"
        found[f"{ours}.norm"] = f"blocks.{stage}.multipathway_fusion.norm"
    return found


def _pyslowfast(settings: ZooSettings) -> dict[str, str]:
    """Our modules to PySlowFast's."""
    found = {
        "head": "head.projection",
        "stem.space.conv": "s1.pathway0_stem.conv_xy",
        "stem.time.conv": "s1.pathway0_stem.conv",
        "stem.time.norm": "s1.pathway0_stem.bn",
        "last.conv": "head.conv_5",
        "last.norm": "head.conv_5_bn",
        "widen": "head.lin_5",
    }
    for number, pathway in enumerate(_pathways(settings)):
        found[f"stem.{pathway}conv"] = f"s1.pathway{number}_stem.conv"
        found[f"stem.{pathway}norm"] = f"s1.pathway{number}_stem.bn"
        for block, (stage, place) in enumerate(stage_of(settings.depths)):
            ours, theirs = f"blocks.{block}.{pathway}", f"s{stage + 2}.pathway{number}_res{place}."
            for part, name in [(part, f"branch2.{part}") for part in "abc"] + [("shortcut", "branch1")]:
                found[f"{ours}{part}.conv"] = theirs + name
                found[f"{ours}{part}.norm"] = f"{theirs}{name}_bn"
            found[f"{ours}excitation.squeeze"] = f"{theirs}branch2.se.fc1"
            found[f"{ours}excitation.excite"] = f"{theirs}branch2.se.fc2"
    for ours, stage in _laterals(settings).items():
        found[f"{ours}.conv"] = f"s{stage + 1}_fuse.conv_f2s"
        found[f"{ours}.norm"] = f"s{stage + 1}_fuse.bn"
    return found


def _pathways(settings: ZooSettings) -> tuple[str, ...]:
    return ("slow.", "fast.") if isinstance(settings, SlowFastSettings) else ("",)


def _laterals(settings: ZooSettings) -> dict[str, int]:
    """The lateral connections of SlowFast, and after which stage each is, the stem being 0."""
    ends = [sum(settings.depths[: stage + 1]) - 1 for stage in range(3)]
    return {"stem.lateral": 0} | {f"blocks.{end}.lateral": stage for stage, end in enumerate(ends, 1)}
