"""Parameters and multiply-accumulates of a model, counted without its weights."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from timesformer.baselines.architectures import build_model
from timesformer.config import ModelSettings


class Cost(NamedTuple):
    """Cost of a model: `parameters`, and `macs` (multiply-accumulates; the paper's "FLOPs") of one view."""

    parameters: int
    macs: int


def count_cost(settings: ModelSettings) -> Cost:
    """Count one forward pass over a single clip with torch's FLOP counter, on the meta device."""
    with torch.device("meta"):
        # The counter's hooks refuse inputs that require a gradient but have no gradient function; under no_grad alone
        # the expanded class token of a model without tables is one.
        model = build_model(settings).eval().requires_grad_(False)
        clip = torch.empty(1, 3, settings.num_frames, settings.image_size, settings.image_size)
        with FlopCounterMode(display=False) as counter, torch.inference_mode(False), torch.no_grad():
            model(clip)
    return Cost(sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2)
