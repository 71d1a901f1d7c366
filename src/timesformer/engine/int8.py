"""Eight-bit linear layers, calibrated on clips.

Activations are unsigned bytes with one scale and zero for all channels, found on the clips; weights are signed bytes
with a scale an output. Where a norm precedes the layer, channels of large range are first made smaller and their
weights larger by the same factor (as in SmoothQuant, arXiv 2211.10438), which is exact. Attention, norms, the
embedding, the residual stream and the class token's way through the last block stay in floating point.

Dimensions: R rows, I channels in, O channels out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.engine.arithmetic import Arithmetic
from timesformer.engine.linear import ROWS, Activation, PlainLinear

AFTER_NORM = (".qkv", ".fc1")  # ends of the names of layers whose inputs come from a norm alone


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


class RangeRecorder(nn.Module):
    """A linear layer that remembers the range of what goes in, channel by channel."""

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

    def smoothing(self) -> Tensor:
        """What each channel that goes in is best divided by: the root of its range over that of its weights."""
        range_I = torch.maximum(self.high_I, -self.low_I).clamp(min=1e-5)
        weight_I = self.linear.weight.abs().amax(0).clamp(min=1e-5)
        return (range_I / weight_I).sqrt()

    def bytes(self, smoothing_I: Tensor | float = 1.0) -> Bytes:
        """The bytes that span all channels after that division."""
        return Bytes.spanning(float((self.low_I / smoothing_I).min()), float((self.high_I / smoothing_I).max()))


class Int8Linear(nn.Module):
    """oneDNN's eight-bit product.

    Floats that go in are quantised as `takes`; out come floats of type `dtype`, or the bytes that `gives` describes.
    """

    bias: Tensor
    weight_scale_O: Tensor
    weight_zero_O: Tensor

    def __init__(
        self,
        weight_OI: Tensor,
        bias_O: Tensor,
        activation: Activation,
        takes: Bytes,
        gives: Bytes | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.activation, self.takes = activation, takes
        self.gives = gives or Bytes(1.0, 0)
        self.dtype = dtype if gives is None else torch.uint8
        whole_OI, weight_scale_O = whole_weights(weight_OI)
        self.packed = torch.ops.onednn.qlinear_prepack(whole_OI, [ROWS, weight_OI.shape[1]])
        self.register_buffer("weight_scale_O", weight_scale_O)
        self.register_buffer("weight_zero_O", torch.zeros(len(bias_O), dtype=torch.int32))
        self.register_buffer("bias", bias_O.clone())

    def forward(self, x_RI: Tensor) -> Tensor:
        if x_RI.dtype != torch.uint8:
            # A half and a cut are a rounding, and save one pass over the tokens. The offset is no scalar, so the sum is
            # in float32: in bfloat16 a sixth of the bytes would be wrong.
            offset = torch.full((1,), self.takes.zero + 0.5)
            x_RI = torch.add(offset, x_RI, alpha=1 / self.takes.scale).clamp_(0, 255).to(torch.uint8)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            x_RI,
            *self.takes,
            self.packed,
            self.weight_scale_O,
            self.weight_zero_O,
            self.bias,
            *self.gives,
            self.dtype,
            self.activation,
            [],
            "none",
        )
        return out


class PortableInt8Linear(nn.Module):
    """The same product as other runtimes have it: floats are made bytes and floats again before it, and the weights
    are bytes that are made floats. A runtime that knows the pattern computes with the bytes themselves."""

    weight_IO: Tensor
    weight_scale_O: Tensor
    weight_zero_O: Tensor
    bias: Tensor

    def __init__(
        self,
        weight_OI: Tensor,
        bias_O: Tensor,
        activation: Activation,
        takes: Bytes,
        gives: Bytes | None,
        dtype: torch.dtype,
    ) -> None:
        importlib.import_module("torch.ao.quantization.fx._decomposed")  # registers the operations
        super().__init__()
        self.activation, self.takes, self.dtype = activation, takes, dtype
        whole_OI, scale_O = whole_weights(weight_OI)
        self.register_buffer("weight_IO", whole_OI.T.contiguous())
        self.register_buffer("weight_scale_O", scale_O)
        self.register_buffer("weight_zero_O", torch.zeros(len(bias_O), dtype=torch.int64))
        self.register_buffer("bias", bias_O.clone())

    def forward(self, x_RI: Tensor) -> Tensor:
        ops = torch.ops.quantized_decomposed
        span = (*self.takes, 0, 255, torch.uint8)
        x_RI = ops.dequantize_per_tensor(ops.quantize_per_tensor(x_RI.float(), *span), *span)
        weight_IO = ops.dequantize_per_channel(
            self.weight_IO, self.weight_scale_O, self.weight_zero_O, 1, -127, 127, torch.int8
        )
        out_RO = x_RI @ weight_IO + self.bias
        return (F.gelu(out_RO) if self.activation == "gelu" else out_RO).to(self.dtype)


def whole_weights(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as whole numbers from -127 to 127, int8, and the scale of each output."""
    scale_O = weight_OI.abs().amax(1).clamp(min=1e-12) / 127
    return (weight_OI / scale_O[:, None]).round().clamp(-127, 127).to(torch.int8), scale_O


def calibrate(
    build: Callable[[Arithmetic], nn.Module],
    clips: Sequence[Tensor],
    wide: Arithmetic,
    kind: type[Int8Linear | PortableInt8Linear] = Int8Linear,
) -> Arithmetic:
    """The eight-bit arithmetic for clips like these. `build` makes the network in an arithmetic; `wide` is that of all
    that stays in floating point; `kind` of the layers that do not."""
    recorders: dict[str, RangeRecorder] = {}

    def record(name: str, weight: Tensor, bias: Tensor, activation: Activation) -> nn.Module:
        recorders[name] = RangeRecorder(PlainLinear(weight, bias, activation))
        return recorders[name]

    network = build(Arithmetic(record))
    for clip in clips:
        network(clip)

    def smooth(name: str) -> Tensor | None:
        return recorders[name].smoothing() if name.endswith(AFTER_NORM) and name in recorders else None

    def byte_range(name: str) -> Bytes:
        smoothing = smooth(name)
        return recorders[name].bytes(1.0 if smoothing is None else smoothing)

    def make(name: str, weight: Tensor, bias: Tensor, activation: Activation) -> nn.Module:
        if name == "embedding":
            return wide.make(name, weight, bias, activation)
        gives = byte_range(name[:-1] + "2") if name.endswith(".fc1") else None
        return kind(weight, bias, activation, byte_range(name), gives, wide.enters)

    return Arithmetic(make, wide.embeds, torch.float32, wide.attend, smooth, wide)
