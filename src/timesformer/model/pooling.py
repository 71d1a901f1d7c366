"""Attentive pooling: a learned query attends to all tokens (CaiT, Touvron et al., 2021; V-JEPA's probes).

Dimensions: B batch, M tokens, D channels, H heads, K = D / H channels of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.model.attention import Attend, Attention, attend


class AttentivePooling(nn.Module):
    """One query for all clips, and an attention to a clip's tokens."""

    def __init__(self, width: int, heads: int, attend: Attend = attend) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(1, 1, width))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.attention = Attention(width, heads, attend=attend)

    def forward(self, tokens_BMD: Tensor) -> Tensor:
        """What the query gathers: (B, D)."""
        pooled: Tensor = self.attention(self.query.expand(len(tokens_BMD), -1, -1), tokens_BMD)[:, 0]
        return pooled

    def gather(self, tokens_BMD: Tensor) -> Tensor:
        """The same, for a fraction of the products: since the query is one for all clips, its keys' weights go to the
        query, and its values' weights to the mean of the tokens. For heads that are trained on tokens that are kept."""
        attention, (width, heads) = self.attention, (tokens_BMD.shape[-1], self.attention.heads)
        weight_q, weight_k, weight_v = attention.qkv.weight.split(width)
        bias_q, _, bias_v = attention.qkv.bias.split(width)  # keys' bias adds the same to all scores
        q_HK = F.linear(self.query[0, 0], weight_q, bias_q).unflatten(0, (heads, -1))
        query_HD = torch.einsum("hk,hkd->hd", q_HK, weight_k.unflatten(0, (heads, -1))) * q_HK.shape[1] ** -0.5
        attention_BHM = (tokens_BMD @ query_HD.T).transpose(1, 2).softmax(-1)
        values_BHK = torch.einsum("bhd,hkd->bhk", attention_BHM @ tokens_BMD, weight_v.unflatten(0, (heads, -1)))
        pooled: Tensor = attention.proj(values_BHK.flatten(1) + bias_v)
        return pooled
