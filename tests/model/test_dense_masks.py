"""Local and global attention against dense attention with a mask: values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_schemes import HEADS, WIDTH, Place, make_attention, make_tokens, run
from torch import Tensor

from timesformer.model.attention import Attention


def local_mask(shape: Place) -> Tensor:
    """Which of 1 + T H W tokens, the class token first, each of them attends to: window by inequality, as defined."""
    _, rows, columns = shape
    t, h, w = torch.meshgrid(*map(torch.arange, shape), indexing="ij")
    h, w = h.flatten(), w.flatten()
    high, wide = max(1, rows // 2), max(1, columns // 2)
    top, left = (h - high // 2).clamp(0, rows - high), (w - wide // 2).clamp(0, columns - wide)
    mask = torch.ones(1 + t.numel(), 1 + t.numel(), dtype=torch.bool)
    mask[1:, 1:] = (h[None] >= top[:, None]) & (h[None] < top[:, None] + high)
    mask[1:, 1:] &= (w[None] >= left[:, None]) & (w[None] < left[:, None] + wide)
    return mask


def global_mask(shape: Place) -> Tensor:
    t, h, w = torch.meshgrid(*map(torch.arange, shape), indexing="ij")
    kept = ((t % 2 == 0) & (h % 2 == 0) & (w % 2 == 0)).flatten()
    return torch.cat([torch.ones(1, dtype=torch.bool), kept]).expand(1 + kept.numel(), -1)


def dense(attention: Attention, x: Tensor, cls: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    tokens = torch.cat([cls, x.flatten(1, 2)], dim=1)
    batch, count, _ = tokens.shape
    q, k, v = F.linear(tokens, attention.qkv.weight, attention.qkv.bias).split(WIDTH, dim=-1)
    q, k, v = (part.view(batch, count, HEADS, -1).transpose(1, 2) for part in (q, k, v))
    scores = (q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS)).masked_fill(~mask, -math.inf)
    out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, count, WIDTH)
    out = F.linear(out, attention.proj.weight, attention.proj.bias)
    return out[:, 1:].view_as(x), out[:, :1]


DENSE_SHAPES = [(1, 1, 1), (2, 1, 9), (3, 9, 1), (2, 2, 3), (3, 3, 2), (5, 4, 4), (2, 5, 8), (1, 7, 7), (2, 11, 6)]
DENSE_SHAPES += [(3, 14, 14)]


@pytest.mark.parametrize("shape", DENSE_SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize(("name", "mask_of"), [("local", local_mask), ("global", global_mask)])
def test_sparse_step_equals_dense_attention_with_a_mask(
    name: str, mask_of: Callable[[Place], Tensor], shape: Place
) -> None:
    """Values, and gradients of tokens and parameters."""
    torch.manual_seed(2)
    attention, (x, cls) = make_attention(), make_tokens(shape)
    leaves = {"x": x.requires_grad_(), "cls": cls.requires_grad_(), **dict(attention.named_parameters())}
    seed_x, seed_cls = torch.randn_like(x), torch.randn_like(cls)
    results = []
    for dx, dcls in (run(name, attention, x, cls, shape), dense(attention, x, cls, mask_of(shape))):
        gradients = torch.autograd.grad((dx * seed_x).sum() + (dcls * seed_cls).sum(), list(leaves.values()))
        results.append({"dx": dx.detach(), "dcls": dcls.detach(), **dict(zip(leaves, gradients, strict=True))})
    sparse, masked = results
    for key in masked:
        torch.testing.assert_close(sparse[key], masked[key], rtol=1e-10, atol=1e-10, msg=lambda text, k=key: k + text)


def test_every_place_of_local_attention_has_the_same_number_of_keys() -> None:
    mask = local_mask((3, 9, 6))
    assert mask[1:].sum(1).unique().tolist() == [3 * (9 // 2) * (6 // 2) + 1]
    assert mask[0].all()
