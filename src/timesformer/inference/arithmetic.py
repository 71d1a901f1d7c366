"""How the rewritten network computes: its linear layers, its attention; and what it takes from a model's layers.

Dimensions: X any sets, H heads, N queries, M keys, K channels of a head.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.inference.linear import Ending, PlainLinear
from timesformer.model.block import Block, Step

Make = Callable[[str, Tensor, Tensor, Ending], nn.Module]
Attend = Callable[..., Tensor]

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
    for place in range(0, sets, some):
        here = slice(place, place + some)
        for row in range(0, queries, rows):
            there = slice(row, row + rows)
            start, beta = (q.new_empty(()), 0) if mask_NM is None else (mask_NM[there], 1)
            scores = torch.baddbmm(start, q[here, there], k[here].transpose(1, 2), beta=beta, alpha=q.shape[-1] ** -0.5)
            out[here, there] = torch.bmm(scores.softmax(-1), v[here])
    return out.view(q_XHNK.shape)


def plain(name: str, weight: Tensor, bias: Tensor, ending: Ending) -> nn.Module:
    """torch's own linear layer in the weights' type."""
    return PlainLinear(weight, bias, ending)


class Arithmetic(NamedTuple):
    """How a network computes: its linear layers by name (weights and bias come in float32), the types of what goes into
    the embedding's and into all others, how it attends, and by what the channels that enter a layer after a norm are
    divided. The residual stream and the class token's last way through the network are always float32."""

    make: Make = plain
    embeds: torch.dtype = torch.float32
    enters: torch.dtype = torch.float32
    attend: Attend = attend_fused
    smooth: Callable[[str], Tensor | None] = lambda name: None

    def after(
        self, norm: nn.Module, name: str, layer: nn.Module, ending: Ending = "none"
    ) -> tuple[nn.Module, nn.Module]:
        """A norm and the linear layer after it."""
        norm, (weight, bias) = own_norm(norm), weights(layer)
        smoothing = self.smooth(name)
        if smoothing is not None:
            norm.weight.div_(smoothing)
            norm.bias.div_(smoothing)
            weight = weight * smoothing
        return norm, self.make(name, weight, bias, ending)


def step_of(block: Block, name: str) -> Step:
    """A step of a block."""
    step = block.steps[name]
    assert isinstance(step, Step)
    return step


def own_norm(norm: nn.Module) -> nn.LayerNorm:
    """A copy of a norm, in float32."""
    assert isinstance(norm, nn.LayerNorm)
    return copy.deepcopy(norm).float().requires_grad_(False)


def own(parameter: Tensor) -> Tensor:
    """A copy of a parameter, in float32."""
    return parameter.detach().to(torch.float32, copy=True)


def weights(linear: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer, copied, in float32."""
    assert isinstance(linear, nn.Linear | nn.Conv2d)
    assert linear.bias is not None
    return own(linear.weight), own(linear.bias)


def projection(step: Step) -> tuple[Tensor, Tensor]:
    """Output projection of a step, multiplied with the linear layer that follows it, if any."""
    weight, bias = weights(step.attention.proj)
    if step.fc is None:
        return weight, bias
    last_weight, last_bias = (part.double() for part in weights(step.fc))
    return (last_weight @ weight.double()).float(), (last_weight @ bias.double() + last_bias).float()
