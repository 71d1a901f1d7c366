"""Multi-head attention (paper, Eq. 2 to 9) over any set of tokens.

Dimensions: B batch, H heads, N queries, M keys, D channels of a token, K = D / H channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORT = 256

Attend = Callable[..., Tensor]  # queries, keys, values and a mask or None, as `attend` takes them


def attend(q_BHNK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, mask_NM: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(K) + mask) v: (B, H, N, K).

    torch's fused attention, but for few keys in bf16 on a CPU: there plain matrix products are faster, up to 17 times
    in the backward pass (benchmarks/short_attention.py).
    """
    if q_BHNK.dtype == torch.bfloat16 and q_BHNK.device.type == "cpu" and k_BHMK.shape[2] <= SHORT:
        q, k, v = (x.reshape(-1, *x.shape[2:]) for x in (q_BHNK, k_BHMK, v_BHMK))
        start, beta = (q.new_zeros(()), 0) if mask_NM is None else (mask_NM, 1)
        scores = torch.baddbmm(start, q, k.transpose(1, 2), beta=beta, alpha=q.shape[-1] ** -0.5)
        return torch.bmm(scores.softmax(-1), v).view(q_BHNK.shape)
    attended: Tensor = F.scaled_dot_product_attention(q_BHNK, k_BHMK, v_BHMK, mask_NM)
    return attended


def split_heads(x_BND: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Queries, keys or values that lie side by side in the channels, each (B, H, N, K)."""
    split: tuple[Tensor, ...] = x_BND.unflatten(-1, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return split


def join_heads(x_BHNK: Tensor) -> Tensor:
    """Heads back into tokens: (B, N, D)."""
    return x_BHNK.transpose(1, 2).flatten(2)


class StepAttention(Protocol):
    """What an attention step (`timesformer.model.schemes`) may ask of its attention: the model's, or an engine's."""

    def __call__(self, x_BND: Tensor, context_BMD: Tensor | None = None, /) -> Tensor:
        """Every token of x attends to x, or to `context` where one is given: (B, N, D)."""

    def project(self, x_BND: Tensor, /) -> tuple[Tensor, ...]:
        """Queries, keys and values of all tokens, each (B, H, N, K)."""

    def attend(self, q_BHNK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, mask_NM: Tensor | None = None, /) -> Tensor:
        """softmax(q k / sqrt(K) + mask) v: (B, H, N, K)."""

    def join(self, out_BHNK: Tensor, /) -> Tensor:
        """Heads back into tokens, and the output projection: (B, N, D)."""


class DropPath(nn.Module):
    """Stochastic depth: in training, drops whole rows of the first dimension and rescales the others."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0:
            return x
        keep = 1 - self.drop_prob
        mask = torch.empty((x.shape[0], *[1] * (x.ndim - 1)), dtype=x.dtype, device=x.device).bernoulli_(keep)
        return (x * mask).div_(keep)


class Attention(nn.Module):
    """Queries, keys and values by one linear layer; softmax(q k / sqrt(K)) v; an output projection; drop-path.

    drop_prob: of drop-path, which drops whole sets of tokens that attend to each other: in time attention a place of
    the frame, in space attention a frame. attend: how attention is computed, as `timesformer.model.attention.attend`.
    """

    def __init__(self, width: int, heads: int, drop_prob: float = 0.0, attend: Attend = attend) -> None:
        super().__init__()
        self.heads, self.attend = heads, attend
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.drop_path = DropPath(drop_prob)

    def forward(self, x_BND: Tensor, context_BMD: Tensor | None = None) -> Tensor:
        """Every token of x attends to x, or to `context` where one is given: (B, N, D)."""
        if context_BMD is None:
            q_BHNK, k_BHNK, v_BHNK = self.project(x_BND)
        else:
            width = x_BND.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            q_BHNK = split_heads(F.linear(x_BND, weight[:width], bias[:width]), 1, self.heads)[0]
            k_BHNK, v_BHNK = split_heads(F.linear(context_BMD, weight[width:], bias[width:]), 2, self.heads)
        return self.join(self.attend(q_BHNK, k_BHNK, v_BHNK))

    def project(self, x_BND: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of all tokens, each (B, H, N, K)."""
        return split_heads(self.qkv(x_BND), 3, self.heads)

    def join(self, out_BHNK: Tensor) -> Tensor:
        """Heads back into tokens, the output projection, and drop-path: (B, N, D)."""
        joined: Tensor = self.drop_path(self.proj(join_heads(out_BHNK)))
        return joined
