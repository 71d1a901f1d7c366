"""Image-pretrained ViTs to begin from: Hugging Face ViT and DINOv2 folders, timm's vit_* state dicts.

Only reading: what a video model has beyond an image model could not be written back. What an image model has beyond
the backbone is left: its head or pooler, DINOv2's mask token. LayerScale is folded into the layer before it, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from timesformer.config import Dimensions
from timesformer.errors import WeightsError
from timesformer.weights.files import read_json, read_pickle, read_safetensors
from timesformer.weights.huggingface import read_tensors
from timesformer.weights.names import count_blocks, expand, to_ours

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
LEFT = ("pooler.", "classifier.", "embeddings.mask_token", "head.", "pre_logits.")


class ImageViT(NamedTuple):
    """An image ViT: its tensors under our names (attention as blocks.I.attention and blocks.I.attention_norm), what
    they tell of its shape, and the pixels it was trained on."""

    kind: str
    tensors: dict[str, Tensor]
    dimensions: Dimensions
    patch_size: int
    side: int
    mlp_ratio: float
    norm_epsilon: float
    mean: Triple
    std: Triple


def read_image_vit(path: Path) -> ImageViT | None:
    """The image ViT that a file or a folder holds; None where it holds something else."""
    config: dict[str, Any] = {}
    if path.is_dir():
        config = read_json(path / "config.json")
        kind = config.get("model_type")
        if kind in ("vit", "dinov2"):
            return _read_huggingface(path, kind, config)
        if not str(config.get("architecture", "")).startswith("vit_"):
            return None
        tensors = read_tensors(path)
    elif path.suffix == ".safetensors":
        tensors = read_safetensors(path)
    else:
        tensors = _unwrap(read_pickle(path))
    if "patch_embed.proj.weight" not in tensors or "blocks.0.attn.qkv.weight" not in tensors:
        return None
    return _read_timm(path, tensors, config)


def _read_huggingface(folder: Path, kind: str, config: Mapping[str, Any]) -> ImageViT:
    if config.get("hidden_act", "gelu") != "gelu" or config.get("use_swiglu_ffn"):
        raise WeightsError(f"{folder / 'config.json'}: only MLPs with GELU can be loaded")
    tensors = {
        name.removeprefix("vit.").removeprefix("dinov2."): tensor for name, tensor in read_tensors(folder).items()
    }
    templates = DINOV2 if kind == "dinov2" else VIT
    names = expand(templates, count_blocks(tensors, "encoder.layer."))
    ours = to_ours(_backbone(tensors), names, folder)
    for block in range(count_blocks(ours, "blocks.")):
        for part in ("weight", "bias"):
            parts = [ours.pop(f"blocks.{block}.{name}.{part}") for name in ("query", "key", "value")]
            ours[f"blocks.{block}.attention.qkv.{part}"] = torch.cat(parts)
    file = folder / "preprocessor_config.json"
    processor = read_json(file) if file.is_file() else {}
    mean, std = IMAGENET if kind == "dinov2" else HALF
    pixels = (tuple(processor.get("image_mean", mean)), tuple(processor.get("image_std", std)))
    epsilon = config.get("layer_norm_eps", 1e-6 if kind == "dinov2" else 1e-12)
    return _image_vit(kind, ours, folder, int(config["num_attention_heads"]), epsilon, pixels)


def _read_timm(path: Path, tensors: dict[str, Tensor], config: Mapping[str, Any]) -> ImageViT:
    """timm's own: norms at 1e-6, heads of 64 channels. A bare file does not tell its pixels: AugReg's are assumed."""
    scaled = "blocks.0.ls1.gamma" in tensors
    names = expand(TIMM | TIMM_SCALES if scaled else TIMM, count_blocks(tensors, "blocks."))
    ours = to_ours(_backbone(tensors), names, path)
    width = ours["embedding.class_token"].shape[-1]
    if width % 64:
        raise WeightsError(f"{path}: width {width} does not tell the number of attention heads (64 channels each)")
    trained = config.get("pretrained_cfg", {})
    pixels = (tuple(trained.get("mean", HALF[0])), tuple(trained.get("std", HALF[1])))
    return _image_vit("timm vit", ours, path, width // 64, 1e-6, pixels)


def _image_vit(
    kind: str, ours: dict[str, Tensor], source: Path, heads: int, epsilon: float, pixels: tuple[Any, Any]
) -> ImageViT:
    depth = count_blocks(ours, "blocks.")
    _fold_scales(ours, depth)
    width = ours["embedding.class_token"].shape[-1]
    places = ours["embedding.space_table"].shape[1] - 1
    side = math.isqrt(places)
    if side**2 != places:
        raise WeightsError(f"{source}: a position table of {places} places beside the class token's is no square")
    return ImageViT(
        kind=kind,
        tensors=ours,
        dimensions=Dimensions(width, depth, heads),
        patch_size=ours["embedding.projection.weight"].shape[-1],
        side=side,
        mlp_ratio=ours["blocks.0.mlp.0.weight"].shape[0] / width,
        norm_epsilon=epsilon,
        mean=pixels[0],
        std=pixels[1],
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


def _unwrap(content: object) -> dict[str, Tensor]:
    """A bare state dict, or one under "model" or "state_dict" (DeiT's files)."""
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return content if isinstance(content, dict) else {}
