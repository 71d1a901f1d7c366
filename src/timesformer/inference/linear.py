"""Linear layers for inference: torch's own, oneDNN's with weights packed once, and eight-bit ones.

All take rows of any leading shape and may end in a GELU, which oneDNN computes while the result is still in the cache
(its fused sum with a residual, in contrast, is slower than a separate one). oneDNN's float32 products are about twice
as fast as those torch takes from MKL on processors that are not Intel's; nothing public in torch reaches them, so their
availability is asked, not assumed.

Dimensions: R rows, I channels in, O channels out.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Ending = Literal["none", "gelu"]
ROWS = 1576  # of a clip of 8 x 224 x 224; only a hint for the layout of the weights


class PlainLinear(nn.Module):
    """torch's linear layer; what is exported, and what runs on a GPU."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight_OI: Tensor, bias_O: Tensor, ending: Ending = "none") -> None:
        super().__init__()
        self.register_buffer("weight", weight_OI.contiguous())
        self.register_buffer("bias", bias_O)
        self.ending = ending

    def forward(self, x_RI: Tensor) -> Tensor:
        out = F.linear(x_RI, self.weight, self.bias)
        return F.gelu(out) if self.ending == "gelu" else out


class PackedLinear(nn.Module):
    """oneDNN's product in float32 or bfloat16, weights laid out once for about `ROWS` rows."""

    bias: Tensor

    def __init__(self, weight_OI: Tensor, bias_O: Tensor, ending: Ending = "none") -> None:
        super().__init__()
        self.register_buffer("bias", bias_O)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight_OI.contiguous(), ROWS)
        self.ending = ending

    def forward(self, x_RI: Tensor) -> Tensor:
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x_RI, self.packed, self.bias, self.ending, [], "none")
        return out


class Watch(nn.Module):
    """A linear layer that remembers the range of what goes in, channel by channel; for calibration."""

    def __init__(self, linear: PlainLinear) -> None:
        super().__init__()
        self.linear = linear
        self.low_I = torch.full(linear.weight.shape[1:], torch.inf)
        self.high_I = torch.full(linear.weight.shape[1:], -torch.inf)

    def forward(self, x_RI: Tensor) -> Tensor:
        rows = x_RI.flatten(0, -2)
        self.low_I = torch.minimum(self.low_I, rows.amin(0))
        self.high_I = torch.maximum(self.high_I, rows.amax(0))
        out: Tensor = self.linear(x_RI)
        return out


class Bytes(NamedTuple):
    """How floats become unsigned bytes: float = scale x (byte - zero)."""

    scale: float
    zero: int

    @classmethod
    def spanning(cls, low: float, high: float) -> Bytes:
        """The bytes that span [low, high], zero included."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max(high - low, 1e-8) / 255
        return cls(scale, round(-low / scale))


class Int8Linear(nn.Module):
    """oneDNN's eight-bit product: unsigned activations with one scale and zero, signed weights with a scale an output.

    Floats that go in are quantised as `takes`; out come floats of type `dtype`, or the bytes that `gives` describes.
    """

    bias: Tensor
    weight_scale_O: Tensor
    weight_zero_O: Tensor

    def __init__(self, weight_OI: Tensor, bias_O: Tensor, ending: Ending, takes: Bytes, gives: Bytes | None,
                 dtype: torch.dtype) -> None:  # fmt: skip
        super().__init__()
        self.ending, self.takes = ending, takes
        self.gives = gives or Bytes(1.0, 0)
        self.dtype = dtype if gives is None else torch.uint8
        weight_scale_O = weight_OI.abs().amax(1).clamp(min=1e-12) / 127
        whole_OI = (weight_OI / weight_scale_O[:, None]).round().clamp(-127, 127).to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(whole_OI, [ROWS, weight_OI.shape[1]])
        self.register_buffer("weight_scale_O", weight_scale_O)
        self.register_buffer("weight_zero_O", torch.zeros(len(bias_O), dtype=torch.int32))
        self.register_buffer("bias", bias_O)

    def forward(self, x_RI: Tensor) -> Tensor:
        if x_RI.dtype != torch.uint8:
            x_RI = torch.quantize_per_tensor(x_RI.float(), *self.takes, torch.quint8).int_repr()
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            x_RI, *self.takes, self.packed, self.weight_scale_O, self.weight_zero_O, self.bias, *self.gives,
            self.dtype, self.ending, [], "none",
        )  # fmt: skip
        return out


def has_onednn() -> bool:
    """Whether this torch brings oneDNN's linear layers."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
