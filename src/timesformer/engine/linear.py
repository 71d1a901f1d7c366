"""Linear layers for inference: torch's own, and oneDNN's with weights packed once.

Both copy the weights that they are given, take rows of any leading shape and may end in a GELU, which oneDNN computes
while the result is still in the cache (its fused sum with a residual, in contrast, is slower than a separate one).
oneDNN's float32 products are about twice as fast as those torch takes from MKL on processors that are not Intel's;
nothing public in torch reaches them, so their availability is asked, not assumed.

Dimensions: R rows, I channels in, O channels out.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["none", "gelu"]
ROWS = 1576  # of a clip of 8 x 224 x 224; only a hint for the layout of the weights


class PlainLinear(nn.Module):
    """torch's linear layer; what is exported, and what runs on a GPU."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight_OI: Tensor, bias_O: Tensor, activation: Activation = "none") -> None:
        super().__init__()
        self.register_buffer("weight", weight_OI.clone(memory_format=torch.contiguous_format))
        self.register_buffer("bias", bias_O.clone())
        self.activation = activation

    def forward(self, x_RI: Tensor) -> Tensor:
        out = F.linear(x_RI, self.weight, self.bias)
        return F.gelu(out) if self.activation == "gelu" else out


class PackedLinear(nn.Module):
    """oneDNN's product in float32 or bfloat16, weights laid out once for about `ROWS` rows."""

    bias: Tensor

    def __init__(self, weight_OI: Tensor, bias_O: Tensor, activation: Activation = "none") -> None:
        super().__init__()
        self.register_buffer("bias", bias_O.clone())
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI.contiguous(), ROWS)
        self.activation = activation

    def forward(self, x_RI: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x_RI, self.packed, self.bias, self.activation, [], "none")
        return out


def has_onednn() -> bool:
    """Whether this torch brings oneDNN's linear layers."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
