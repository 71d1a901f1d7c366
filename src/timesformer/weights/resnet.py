"""Image-pretrained ResNets to initialise from: torchvision's state dicts, timm's files and folders, which have the same
names. Kernels are inflated over time: repeated, and divided by how often, so that a clip that does not change is seen
as its frame is (Carreira and Zisserman, CVPR 2017).

Only reading, as of image ViTs. Their heads are not loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timesformer.baselines.resnet import stage_of
from timesformer.config.baselines import Depths
from timesformer.errors import WeightsError
from timesformer.weights.names import COUNTER, count_blocks, fill_counters, to_ours
from timesformer.weights.opened import read_settled
from timesformer.weights.shards import read_tensors
from timesformer.weights.storage import read_checkpoint, read_json, tensors_in
from timesformer.weights.vit import IMAGENET, Triple
from timesformer.weights.wrappers import state_dict_in, without_wrappers

KNOWN = ("conv1.weight",)
KEYS = ("model", "state_dict")
LEFT = ("fc.",)
NORM = ("weight", "bias", "running_mean", "running_var", COUNTER)


class ImageResNet(NamedTuple):
    """An image ResNet of bottleneck blocks: its tensors under our names, kernels without frames; its shape, and the
    pixels it was trained on."""

    tensors: dict[str, Tensor]
    width: int
    depths: Depths
    mean: Triple
    std: Triple


def is_image_resnet(content: Mapping[str, Any]) -> bool:
    """Whether a folder's config.json, or a file's content, is an image ResNet's."""
    if str(content.get("architecture")).startswith("resnet"):
        return True
    tensors = without_wrappers(state_dict_in(content, KEYS), KNOWN)
    return "conv1.weight" in tensors and "layer1.0.conv1.weight" in tensors


def read_image_resnet(path: Path) -> ImageResNet | None:
    """The image ResNet that a file or a folder holds; None where it holds something else. Raises WeightsError for one
    of another kind."""
    return read_settled(path, functools.partial(_read, path)) if path.is_dir() else _read(path)


def _read(path: Path) -> ImageResNet | None:
    config = read_json(path / "config.json") if path.is_dir() else {}
    content = config or read_checkpoint(path)
    if not isinstance(content, dict) or not is_image_resnet(content):
        return None
    trained = config.get("pretrained_cfg") or {}
    tensors = read_tensors(path) if config else tensors_in(state_dict_in(content, KEYS), path)
    tensors = {
        name: tensor for name, tensor in without_wrappers(tensors, KNOWN, path).items() if not name.startswith(LEFT)
    }
    if "layer1.0.conv3.weight" not in tensors or tensors.get("conv1.weight", torch.empty(0)).ndim != 4:
        raise WeightsError(
            f"{path}: an image ResNet without bottleneck blocks, or with another stem; expected one such as ResNet-50"
        )
    one, two, three, four = (count_blocks(tensors, f"layer{stage}.") for stage in (1, 2, 3, 4))
    depths = (one, two, three, four)
    names = _names(depths)
    tensors = fill_counters(tensors, names)
    mean, std = trained.get("mean", IMAGENET[0]), trained.get("std", IMAGENET[1])
    width = len(tensors["conv1.weight"])
    return ImageResNet(to_ours(tensors, names, path), width, depths, tuple(mean), tuple(std))


def _names(depths: Depths) -> dict[str, str]:
    """Their names to ours."""
    names: dict[str, str] = {}

    def add(convolution: str, norm: str, ours: str) -> None:
        names[f"{convolution}.weight"] = f"{ours}.conv.weight"
        names.update({f"{norm}.{part}": f"{ours}.norm.{part}" for part in NORM})

    add("conv1", "bn1", "stem")
    for block, (stage, number) in enumerate(stage_of(depths)):
        theirs, ours = f"layer{stage + 1}.{number}", f"blocks.{block}"
        for place, part in enumerate("abc", 1):
            add(f"{theirs}.conv{place}", f"{theirs}.bn{place}", f"{ours}.{part}")
        if number == 0:
            add(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}.shortcut")
    return names


def inflate(image: ImageResNet, model: Mapping[str, Tensor], pathway: str = "") -> dict[str, Tensor]:
    """The tensors of a video model, or of one of its pathways, whose kernels are the image model's inflated over time.

    model: all tensors of the video model. pathway: "slow" of SlowFast, whose channels from the fast one get weights of
    zero. Raises WeightsError where the image model's do not fit.
    """
    found = {}
    for name, tensor in image.tensors.items():
        module, _, rest = name.partition(".")
        number, _, inner = rest.partition(".")
        if pathway:
            name = f"stem.{pathway}.{rest}" if module == "stem" else f"blocks.{number}.{pathway}.{inner}"
        if tensor.ndim == 4:
            like = model[name]
            tensor = tensor.unsqueeze(2).expand(-1, -1, like.shape[2], -1, -1) / like.shape[2]
            added = like.shape[1] - tensor.shape[1]
            if pathway and added > 0 and inner in ("a.conv.weight", "shortcut.conv.weight"):
                tensor = torch.cat([tensor, tensor.new_zeros(len(tensor), added, *tensor.shape[2:])], 1)
        found[name] = tensor
    return found
