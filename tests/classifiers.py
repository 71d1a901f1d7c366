"""Small classifiers of every scheme, and clips, for the tests of engines."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from timesformer.config import Preprocessing
from timesformer.model.timesformer import TimeSformer
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import Classifier

CASES: tuple[dict[str, Any], ...] = (
    {"scheme": "space_only", "position": "space"},
    {"scheme": "joint_space_time"},
    {"scheme": "sparse_local_global"},
    {"scheme": "axial"},
    {"scheme": "axial", "class_token_in_time": True, "depth": 1},
    *(
        {"order": order, "class_token_in_time": in_time, "position": position}
        for order, position in (("time_space", "space_time"), ("space_time", "space"), ("parallel", "none"))
        for in_time in (False, True)
    ),
    {"depth": 1, "order": "parallel"},
    {"pooling": "attentive"},
    {"pooling": "attentive", "scheme": "space_only"},
    {"pooling": "attentive", "scheme": "axial"},
    {"position_resize": "nearest_flat"},
    {"scheme": ("joint", "time")},  # the last step leaves the class token out
    {"scheme": ("time",)},  # all do
    {"scheme": ("global", "space", "local")},
    {"scheme": ("space",)},
    {"scheme": ("space", "time"), "class_token_in_time": True},
    {"scheme": "joint_space_time", "class_token": False, "position": "sinusoidal", "pooling": "mean"},
    {"scheme": "joint_space_time", "class_token": False, "position": "none", "pooling": "attentive"},
    {"scheme": "joint_space_time", "class_token": False, "position": "sinusoidal", "pooling": "first_patch"},
    {"pooling": "mean", "last_norm_epsilon": 0.1},
    {"pooling": "mean", "scheme": "space_only", "position": "sinusoidal"},
    {"pooling": "mean", "scheme": "sparse_local_global"},
)


def classifier(seed: int = 0, **settings: Any) -> Classifier:
    """A small network whose every number matters, with preprocessing that tells channels apart."""
    values = {
        "image_size": 32,
        "patch_size": 16,
        "num_frames": 4,
        "num_classes": 5,
        "width": 32,
        "depth": 3,
        "heads": 2,
    }
    torch.manual_seed(seed)
    model = TimeSformer(**{**values, **settings}).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5))
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)
    preprocessing = Preprocessing(mean=(0.4, 0.5, 0.3), std=(0.2, 0.25, 0.3), channels="bgr" if seed % 2 else "rgb")
    return Classifier(model, preprocessing, tuple("abcde"))


def some_clips(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def expected(net: Classifier, clips: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = net.model(normalise(clips, net.preprocessing))
    return logits
