"""Image-pretrained ViTs to initialise from: Hugging Face ViT and DINOv2 folders, timm's vit_* state dicts.

Only reading: what a video model has beyond an image model could not be written back. What an image model has beyond
the backbone is left: its head or pooler, DINOv2's mask token. LayerScale is folded into the layer before it, exactly.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from timesformer.config import Dimensions
from timesformer.errors import WeightsError
from timesformer.weights.agreement import check_agreement
from timesformer.weights.names import check_ndim, count_blocks, expand, guess_heads, join_attention, side_of, to_ours
from timesformer.weights.opened import read_settled
from timesformer.weights.processor import read_pixels
from timesformer.weights.shards import read_tensors
from timesformer.weights.storage import read_checkpoint, read_json, tensors_in
from timesformer.weights.wrappers import state_dict_in, without_wrappers

Triple = tuple[float, float, float]
IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF: tuple[Triple, Triple] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

HUGGINGFACE = {
    "embeddings.cls_token": "embedding.class_token",
    "embeddings.position_embeddings": "embedding.space_table",
    "embeddings.patch_embeddings.projection.{p}": "embedding.projection.{p}",
    "encoder.layer.{i}.attention.attention.query.{p}": "blocks.{i}.query.{p}",
    "encoder.layer.{i}.attention.attention.key.{p}": "blocks.{i}.key.{p}",
    "encoder.layer.{i}.attention.attention.value.{p}": "blocks.{i}.value.{p}",
    "encoder.layer.{i}.attention.output.dense.{p}": "blocks.{i}.attention.proj.{p}",
    "layernorm.{p}": "norm.{p}",
}
VIT = HUGGINGFACE | {
    "encoder.layer.{i}.layernorm_before.{p}": "blocks.{i}.attention_norm.{p}",
    "encoder.layer.{i}.layernorm_after.{p}": "blocks.{i}.norm.{p}",
    "encoder.layer.{i}.intermediate.dense.{p}": "blocks.{i}.mlp.0.{p}",
    "encoder.layer.{i}.output.dense.{p}": "blocks.{i}.mlp.3.{p}",
}
DINOV2 = HUGGINGFACE | {
    "encoder.layer.{i}.norm1.{p}": "blocks.{i}.attention_norm.{p}",
    "encoder.layer.{i}.norm2.{p}": "blocks.{i}.norm.{p}",
    "encoder.layer.{i}.mlp.fc1.{p}": "blocks.{i}.mlp.0.{p}",
    "encoder.layer.{i}.mlp.fc2.{p}": "blocks.{i}.mlp.3.{p}",
    "encoder.layer.{i}.layer_scale1.lambda1": "blocks.{i}.attention_scale",
    "encoder.layer.{i}.layer_scale2.lambda1": "blocks.{i}.mlp_scale",
}
TIMM = {
    "cls_token": "embedding.class_token",
    "pos_embed": "embedding.space_table",
    "patch_embed.proj.{p}": "embedding.projection.{p}",
    "blocks.{i}.norm1.{p}": "blocks.{i}.attention_norm.{p}",
    "blocks.{i}.attn.qkv.{p}": "blocks.{i}.attention.qkv.{p}",
    "blocks.{i}.attn.proj.{p}": "blocks.{i}.attention.proj.{p}",
    "blocks.{i}.norm2.{p}": "blocks.{i}.norm.{p}",
    "blocks.{i}.mlp.fc1.{p}": "blocks.{i}.mlp.0.{p}",
    "blocks.{i}.mlp.fc2.{p}": "blocks.{i}.mlp.3.{p}",
    "norm.{p}": "norm.{p}",
}
TIMM_SCALES = {
    "blocks.{i}.ls1.gamma": "blocks.{i}.attention_scale",
    "blocks.{i}.ls2.gamma": "blocks.{i}.mlp_scale",
}
KEYS = ("model", "state_dict")  # of DeiT's files, and of others
KNOWN = ("cls_token",)
HUGGINGFACE_KNOWN = ("embeddings.cls_token", "vit.embeddings.cls_token", "dinov2.embeddings.cls_token")
KINDS = ("vit", "dinov2")
LEFT = ("pooler.", "classifier.", "embeddings.mask_token", "head.", "pre_logits.")


class ImageViT(NamedTuple):
    """An image ViT: its tensors under our names (attention as blocks.I.attention and blocks.I.attention_norm), what
    they imply about its shape, and the pixels it was trained on."""

    kind: str
    tensors: dict[str, Tensor]
    dimensions: Dimensions
    patch_size: int
    side: int
    mlp_ratio: float
    norm_epsilon: float
    mean: Triple
    std: Triple


def is_image_vit(content: Mapping[str, Any]) -> bool:
    """Whether a folder's config.json, or a file's content, is an image ViT's."""
    if content.get("model_type") in KINDS or str(content.get("architecture")).startswith(("vit_", "deit_")):
        return True
    tensors = without_wrappers(state_dict_in(content, KEYS), KNOWN)
    image = "patch_embed.proj.weight" in tensors and "blocks.0.attn.qkv.weight" in tensors
    return image and "time_embed" not in tensors


def read_image_vit(path: Path) -> ImageViT | None:
    """The image ViT that a file or a folder holds; None where it holds something else."""
    return read_settled(path, functools.partial(_read, path)) if path.is_dir() else _read(path)


def _read(path: Path) -> ImageViT | None:
    config = read_json(path / "config.json") if path.is_dir() else {}
    content = config or read_checkpoint(path)
    if not isinstance(content, dict) or not is_image_vit(content):
        return None
    if config.get("model_type") in KINDS:
        return _read_huggingface(path, config["model_type"], config)
    if config:
        trained = config.get("pretrained_cfg") or {}
        return _read_timm(path, read_tensors(path), (trained.get("mean", HALF[0]), trained.get("std", HALF[1])))
    # A bare file does not say which pixels it expects: DeiT, DINO and MAE wrap tensors in "model", AugReg does not.
    return _read_timm(path, tensors_in(state_dict_in(content, KEYS), path), IMAGENET if "model" in content else HALF)


def _read_huggingface(folder: Path, kind: str, config: Mapping[str, Any]) -> ImageViT:
    for name, only in (("hidden_act", "gelu"), ("use_swiglu_ffn", False)):
        if config.get(name, only) != only:
            raise WeightsError(f"{folder / 'config.json'}: {name} is {config[name]!r}; only {only!r} can be loaded")
    heads = config.get("num_attention_heads")
    if not isinstance(heads, int):
        raise WeightsError(f"{folder / 'config.json'}: num_attention_heads is {heads!r}; expected a number")
    tensors = {
        name.removeprefix("vit.").removeprefix("dinov2."): tensor
        for name, tensor in without_wrappers(read_tensors(folder), HUGGINGFACE_KNOWN, folder).items()
    }
    templates = DINOV2 if kind == "dinov2" else VIT
    names = expand(templates, count_blocks(tensors, "encoder.layer."))
    ours = to_ours(_backbone(tensors), names, folder)
    check_agreement(config, ours, folder / "config.json")
    for block in range(count_blocks(ours, "blocks.")):
        join_attention(ours, block, f"blocks.{block}.attention.qkv", folder)
    pixels = read_pixels(folder, *(IMAGENET if kind == "dinov2" else HALF))
    epsilon = config.get("layer_norm_eps", 1e-6 if kind == "dinov2" else 1e-12)
    return _image_vit(kind, ours, folder, heads, epsilon, (pixels["mean"], pixels["std"]))


def _read_timm(path: Path, tensors: dict[str, Tensor], pixels: tuple[Any, Any]) -> ImageViT:
    """timm's own: norms at 1e-6."""
    tensors = without_wrappers(tensors, KNOWN, path)
    scaled = "blocks.0.ls1.gamma" in tensors
    names = expand(TIMM | TIMM_SCALES if scaled else TIMM, count_blocks(tensors, "blocks."))
    ours = to_ours(_backbone(tensors), names, path)
    return _image_vit("timm vit", ours, path, None, 1e-6, pixels)


def _image_vit(
    kind: str, ours: dict[str, Tensor], source: Path, heads: int | None, epsilon: float, pixels: tuple[Any, Any]
) -> ImageViT:
    check_ndim(ours, source)
    depth = count_blocks(ours, "blocks.")
    _fold_scales(ours, depth)
    width = ours["embedding.class_token"].shape[-1]
    side = side_of(ours["embedding.space_table"], source)
    return ImageViT(
        kind=kind,
        tensors=ours,
        dimensions=Dimensions(width, depth, guess_heads(width, source) if heads is None else heads),
        patch_size=ours["embedding.projection.weight"].shape[-1],
        side=side,
        mlp_ratio=ours["blocks.0.mlp.0.weight"].shape[0] / width,
        norm_epsilon=epsilon,
        mean=tuple(pixels[0]),
        std=tuple(pixels[1]),
    )


def _fold_scales(ours: dict[str, Tensor], depth: int) -> None:
    """LayerScale multiplies what a layer gives, channel by channel: so the layer's weights can carry it."""
    for block in range(depth):
        for name, layer in (("attention_scale", "attention.proj"), ("mlp_scale", "mlp.3")):
            scale = ours.pop(f"blocks.{block}.{name}", None)
            if scale is not None:
                ours[f"blocks.{block}.{layer}.weight"] = ours[f"blocks.{block}.{layer}.weight"] * scale[:, None]
                ours[f"blocks.{block}.{layer}.bias"] = ours[f"blocks.{block}.{layer}.bias"] * scale


def _backbone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(LEFT)}
