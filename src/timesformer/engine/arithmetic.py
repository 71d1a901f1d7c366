"""How the rewritten network computes: its linear layers and its attention, by precision.

Dimensions: X any sets, H heads, N queries, M keys, K channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.engine.linear import Activation, PackedLinear, PlainLinear
from timesformer.engine.parts import LinearParts

Make = Callable[[str, Tensor, Tensor, Activation], nn.Module]
Attend = Callable[..., Tensor]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SCORES = 2**20  # of an attention at a time; measured: an eighth and four times as many are slower


def attend_fused(q_XHNK: Tensor, k_XHMK: Tensor, v_XHMK: Tensor, mask_NM: Tensor | None = None) -> Tensor:
    """torch's fused attention, (X, H, N, K). mask_NM: what is added to the scores of queries and keys."""
    return F.scaled_dot_product_attention(q_XHNK, k_XHMK, v_XHMK, mask_NM)


def attend_apart(q_XHNK: Tensor, k_XHMK: Tensor, v_XHMK: Tensor, mask_NM: Tensor | None = None) -> Tensor:
    """The same by products on contiguous heads, so many heads or queries at a time that their scores stay in the cache;
    in bfloat16 on a CPU, twice as fast and more."""
    q, k, v = (x.reshape(-1, *x.shape[2:]) for x in (q_XHNK, k_XHMK, v_XHMK))
    sets, queries, keys = len(q), q.shape[1], k.shape[1]
    some = max(1, SCORES // (queries * keys))
    rows = min(queries, max(32, SCORES // keys))
    out = torch.empty_like(q)
    for first in range(0, sets, some):
        here = slice(first, first + some)
        for row in range(0, queries, rows):
            there = slice(row, row + rows)
            start, beta = (q.new_empty(()), 0) if mask_NM is None else (mask_NM[there], 1)
            scores = torch.baddbmm(start, q[here, there], k[here].transpose(1, 2), beta=beta, alpha=q.shape[-1] ** -0.5)
            out[here, there] = torch.bmm(scores.softmax(-1), v[here])
    return out.view(q_XHNK.shape)


def plain(name: str, weight: Tensor, bias: Tensor, activation: Activation) -> nn.Module:
    """torch's own linear layer in the weights' type."""
    return PlainLinear(weight, bias, activation)


class Arithmetic(NamedTuple):
    """How a network computes.

    make: its linear layers by name; weights and bias come in float32. embeds, enters: the types of what goes into the
    embedding's and into all others. attend: how it attends. smooth: by what the channels that enter a layer after a
    norm are divided. wide: what stays in floating point where `make` is calibrated on clips; None where nothing is.
    The residual stream and the class token's last way through the network are always float32.
    """

    make: Make = plain
    embeds: torch.dtype = torch.float32
    enters: torch.dtype = torch.float32
    attend: Attend = attend_fused
    smooth: Callable[[str], Tensor | None] = lambda name: None
    wide: Arithmetic | None = None

    def after(
        self, norm: nn.LayerNorm, name: str, layer: LinearParts, activation: Activation = "none"
    ) -> tuple[nn.LayerNorm, nn.Module]:
        """A norm and the linear layer after it."""
        smoothing = self.smooth(name)
        weight, bias = layer
        if smoothing is not None:
            norm.weight.div_(smoothing)
            norm.bias.div_(smoothing)
            weight = weight * smoothing
        return norm, self.make(name, weight, bias, activation)


def floating(precision: str, device: torch.device, *, packed: bool) -> Arithmetic:
    """Arithmetic in float32 or bfloat16, by torch's linear layers or oneDNN's."""
    dtype = DTYPES[precision]
    kind = PackedLinear if packed and device.type == "cpu" else PlainLinear

    def make(name: str, weight: Tensor, bias: Tensor, activation: Activation) -> nn.Module:
        return kind(weight.to(dtype), bias.to(dtype), activation)

    apart = device.type == "cpu" and precision == "bf16"
    return Arithmetic(make, dtype, dtype, attend_apart if apart else attend_fused)


def portable(precision: str) -> Arithmetic:
    """Arithmetic in a floating-point type by operations that other runtimes have too."""
    dtype = DTYPES[precision]

    def make(name: str, weight: Tensor, bias: Tensor, activation: Activation) -> nn.Module:
        return PlainLinear(weight.to(dtype), bias.to(dtype), activation)

    return Arithmetic(make, dtype, dtype)
