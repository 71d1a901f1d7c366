"""What an engine must know of an attention step, found by running its function once on a few random tokens.

So a step that `timesformer.register_step` adds needs no word in any engine. Dimensions: B batch, T frames, N patches of
a frame, D channels; L sets of M keys.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from timesformer.model.attention import join_heads, split_heads
from timesformer.model.schemes import AttentionStep
from timesformer.model.tokens import join_tokens

FRAMES, GRID, WIDTH, HEADS = 3, (4, 5), 4, 2


class Found(NamedTuple):
    """What a step does.

    context: it gives its attention a context, so queries are made apart from keys and values.
    class_token: the class token gains something.
    linear: a linear layer after the step may as well stand inside it, after the output projection.
    by_keys: what the class token gains is its attention to the keys that `indices` states for it, and no more.
    """

    context: bool
    class_token: bool
    linear: bool
    by_keys: bool


class ProbingAttention:
    """An attention of random weights in float64 that notes whether it is given a context; projection W x + b."""

    def __init__(self, generator: torch.Generator) -> None:
        self.qkv, self.weight, self.bias = (
            torch.randn(shape, dtype=torch.float64, generator=generator)
            for shape in ((WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH,))
        )
        self.context = False

    def __call__(self, x_BND: Tensor, context_BMD: Tensor | None = None) -> Tensor:
        """As `timesformer.model.attention.Attention`."""
        self.context |= context_BMD is not None
        q_BHNK = self.project(x_BND)[0]
        _, k_BHMK, v_BHMK = self.project(x_BND if context_BMD is None else context_BMD)
        return self.join(self.attend(q_BHNK, k_BHMK, v_BHMK))

    def project(self, x_BND: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of all tokens, each (B, H, N, K)."""
        return split_heads(x_BND @ self.qkv, 3, HEADS)

    def attend(self, q_BHNK: Tensor, k_BHMK: Tensor, v_BHMK: Tensor, mask_NM: Tensor | None = None) -> Tensor:
        """softmax(q k / sqrt(K) + mask) v: (B, H, N, K)."""
        return F.scaled_dot_product_attention(q_BHNK, k_BHMK, v_BHMK, mask_NM)

    def join(self, out_BHNK: Tensor) -> Tensor:
        """Heads back into tokens, and the output projection: (B, N, D)."""
        joined: Tensor = join_heads(out_BHNK) @ self.weight + self.bias
        return joined


@functools.cache
def probe(step: AttentionStep) -> Found:
    """Run a step on one clip of FRAMES x GRID patches."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("cpu"), torch.inference_mode(False), torch.no_grad():
        attention = ProbingAttention(generator)
        x_BTND, cls_B1D = (
            torch.randn(1, *shape, WIDTH, dtype=torch.float64, generator=generator)
            for shape in ((FRAMES, GRID[0] * GRID[1]), (1,))
        )
        dx, dcls = step.function(attention, x_BTND, cls_B1D, GRID)
        context, gains = attention.context, [dx] if dcls is None else [dx, dcls]
        by_keys = dcls is not None and torch.allclose(dcls, _gain_by_keys(step, attention, x_BTND, cls_B1D))
        # The same with a linear layer inside the step: does it give what the layer gives after the step?
        weight, bias = torch.randn(WIDTH, WIDTH, dtype=torch.float64, generator=generator), torch.ones(WIDTH)
        after = [gain @ weight + bias for gain in gains]
        attention.weight, attention.bias = attention.weight @ weight, attention.bias @ weight + bias
        inside = step.function(attention, x_BTND, cls_B1D, GRID)
        linear = all(torch.allclose(one, other) for one, other in zip(after, inside, strict=False) if other is not None)
    return Found(context, dcls is not None, linear, by_keys)


def _gain_by_keys(step: AttentionStep, attention: ProbingAttention, x_BTND: Tensor, cls_B1D: Tensor) -> Tensor:
    keys_LM = step.indices(FRAMES, GRID).cls_LM
    if keys_LM is None:
        return torch.full_like(cls_B1D, torch.nan)
    keys_LMD = join_tokens(x_BTND, cls_B1D)[0, keys_LM]
    return attention(cls_B1D.expand(len(keys_LMD), -1, -1), keys_LMD).mean(0, keepdim=True)
