"""Attention by matrix products, where it is taken instead of torch's fused one, against a reference in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from timesformer.model.attention import SHORT, attend


def reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = q.double(), k.double(), v.double()
    return (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1) @ v


@pytest.mark.parametrize("keys", [5, SHORT, SHORT + 1])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_values_and_gradients(keys: int, dtype: torch.dtype, tolerance: float) -> None:
    generator = torch.Generator().manual_seed(keys)
    q, k, v = (
        torch.randn(2, 3, length, 8, generator=generator).to(dtype).requires_grad_() for length in (4, keys, keys)
    )
    weight = torch.randn(2, 3, 4, 8, generator=generator)
    out = attend(q, k, v)
    assert out.dtype == dtype
    expected = reference(q, k, v)
    torch.testing.assert_close(out.double(), expected, rtol=tolerance, atol=tolerance)
    found = torch.autograd.grad((out.float() * weight).sum(), (q, k, v))
    wanted = torch.autograd.grad((expected * weight).sum(), (q, k, v))
    for one, two in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.double(), two.double(), rtol=tolerance, atol=tolerance)
