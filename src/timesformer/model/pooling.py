"""Attentive pooling: a learned query attends to all tokens (CaiT, Touvron et al., 2021; V-JEPA's probes).

Dimensions: B batch, M tokens, D channels.
"""

from __future__ import annotations

import torch
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
