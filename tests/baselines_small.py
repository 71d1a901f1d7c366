"""Small networks of every architecture that TimeSformer is compared with, for the tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from timesformer.baselines.architectures import build_model
from timesformer.config import ModelSettings
from timesformer.model.protocol import VideoModel
from timesformer.settings import make

X3D: dict[str, Any] = {"width_factor": 0.5, "depth_factor": 0.4, "head_width": 24}
SMALL: dict[str, dict[str, Any]] = {
    "i3d": {"width": 8, "depths": (1, 2, 1, 1), "num_frames": 4},
    "slowfast": {"width": 16, "depths": (1, 1, 2, 1), "num_frames": 8},
    "x3d_s": X3D | {"num_frames": 5},
    "x3d_m": X3D | {"num_frames": 4, "shortcut_norms": "all"},
    "tsm": {"width": 8, "depths": (1, 2, 1, 1), "num_frames": 4},
    "frame_vit": {"width": 24, "depth": 2, "heads": 3, "patch_size": 8, "num_frames": 4},
}


def small_settings(architecture: str, **changes: Any) -> ModelSettings:
    values = SMALL[architecture] | {"architecture": architecture, "image_size": 32, "num_classes": 5} | changes
    return make(ModelSettings.class_for(values), values, "test")


def small_model(architecture: str, **changes: Any) -> VideoModel:
    """In evaluation mode, with every number drawn, statistics of norms too."""
    torch.manual_seed(0)
    return drawn(build_model(small_settings(architecture, **changes)))


@torch.no_grad()
def drawn(model: VideoModel) -> VideoModel:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.2)
        elif isinstance(module, nn.Linear | nn.LayerNorm):
            module.weight.add_(torch.randn_like(module.weight) * 0.2)
            module.bias.normal_(0, 0.2)
    return model.eval()
