"""Multi-head attention (paper, Eq. 2 to 9) over any set of tokens.

Dimensions: B batch, H heads, N queries, M keys, D channels of a token, K = D / H channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORT = 256


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


class Attention(nn.Module):
    """Queries, keys and values by one linear layer; softmax(q k / sqrt(K)) v; an output projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BND: Tensor, context_BMD: Tensor | None = None) -> Tensor:
        """Every token of x attends to x, or to `context` where one is given: (B, N, D)."""
        if context_BMD is None:
            q_BHNK, k_BHNK, v_BHNK = self.project(x_BND)
        else:
            width = x_BND.shape[-1]
            weight, bias = self.qkv.weight, self.qkv.bias
            q_BHNK = self._split(F.linear(x_BND, weight[:width], bias[:width]), 1)[0]
            k_BHNK, v_BHNK = self._split(F.linear(context_BMD, weight[width:], bias[width:]), 2)
        return self.join(self.attend(q_BHNK, k_BHNK, v_BHNK))

    def attend(self, q_BHNK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, mask_NM: Tensor | None = None) -> Tensor:
        """As `timesformer.model.attention.attend`."""
        return attend(q_BHNK, k_BHMK, v_BHMK, mask_NM)

    def project(self, x_BND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of all tokens, each (B, H, N, K)."""
        q_BHNK, k_BHNK, v_BHNK = self._split(self.qkv(x_BND), 3)
        return q_BHNK, k_BHNK, v_BHNK

    def join(self, out_BHNK: Tensor) -> Tensor:
        """Heads back into tokens, and the output projection: (B, N, D)."""
        joined: Tensor = self.proj(out_BHNK.transpose(1, 2).flatten(2))
        return joined

    def _split(self, x_BND: Tensor, parts: int) -> tuple[Tensor, ...]:
        split: tuple[Tensor, ...] = x_BND.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return split
