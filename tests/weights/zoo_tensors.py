"""Tensors of a checkpoint drawn by their names, the same in every process: for what PyTorchVideo's own code computes
with them, which `record_pytorchvideo.py` has recorded, and for the tests that hold ours against it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# Small networks of PyTorchVideo's kinds, ours and theirs: 7 classes, clips (2, 3, frames, side, side).
SMALL: dict[str, dict[str, Any]] = {
    "i3d": {"settings": {"width": 8, "depths": (3, 4, 6, 3)}, "shape": (4, 96, 96)},
    "slowfast": {"settings": {"width": 16, "depths": (3, 4, 6, 3)}, "shape": (8, 96, 64)},
    "x3d_m": {"settings": {"width_factor": 0.7, "depth_factor": 0.9, "head_width": 40}, "shape": (4, 96, 64)},
}
WINDOW = 2  # of the means before the head, over maps of 3 x 3 and 3 x 2


def draw_tensors(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    drawn = {}
    for number, name in enumerate(sorted(shapes)):
        generator, shape = torch.Generator().manual_seed(number), tuple(shapes[name])
        tensor = torch.randn(shape, generator=generator)
        if name.endswith("num_batches_tracked"):
            tensor = torch.tensor(3)
        elif len(shape) > 1:
            tensor *= math.prod(shape[1:]) ** -0.5
        elif name.endswith(("running_var", "weight")):
            tensor = tensor.sigmoid() + 0.5
        else:
            tensor *= 0.2
        drawn[name] = tensor
    return drawn


def draw_clips(architecture: str) -> Tensor:
    return torch.randn(2, 3, *SMALL[architecture]["shape"], generator=torch.Generator().manual_seed(100))
