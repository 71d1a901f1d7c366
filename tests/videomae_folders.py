"""Folders of tiny VideoMAE models as transformers writes them, for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

CONFIG: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "num_frames": 4,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 120,
    "num_labels": 7,
    "decoder_hidden_size": 24,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 48,
}
SELF = "videomae.encoder.layer.1.attention.attention."


def write(folder: Path, kind: str = "VideoMAEForVideoClassification", **changes: Any) -> Any:
    """One of transformers' models with random tensors, saved by it."""
    import transformers

    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.VideoMAEConfig(**CONFIG | changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.2)
    model.save_pretrained(folder)
    return model


def change(folder: Path, tensors: dict[str, Tensor | None] | None = None, **config: Any) -> Path:
    """The folder with other tensors and another config.json; None takes a tensor out."""
    file = folder / "model.safetensors"
    changed = load_file(file) | (tensors or {})
    save_file({name: tensor for name, tensor in changed.items() if tensor is not None}, file, {"format": "pt"})
    source = folder / "config.json"
    source.write_text(json.dumps(json.loads(source.read_text()) | config))
    return folder
