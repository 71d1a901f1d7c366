"""Fused attention against plain matrix products, forward + backward, on this machine's CPU: milliseconds and ratios.

    python benchmarks/short_attention.py

Shapes are (sequences, heads, tokens, channels of a head): time and space attention of a small model at batch 32, of the
base model at batch 4, and joint attention of base at batch 4. Runs are interleaved; the medians of 7 are printed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SHAPES = ((1152, 4, 12, 32), (384, 4, 37, 32), (784, 12, 8, 64), (32, 12, 197, 64), (4, 12, 1569, 64))
RUNS = 7


def products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention by two matrix products and a softmax, as `timesformer.model.attention.attend` has it."""
    flat_q, flat_k, flat_v = (x.reshape(-1, *x.shape[2:]) for x in (q, k, v))
    scores = torch.baddbmm(q.new_zeros(()), flat_q, flat_k.transpose(1, 2), beta=0, alpha=q.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(-1), flat_v).view(q.shape)


def milliseconds(attend: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor) -> tuple[float, float]:
    begin = time.perf_counter()
    out = attend(q, k, v)
    middle = time.perf_counter()
    out.float().square().sum().backward()
    return 1e3 * (middle - begin), 1e3 * (time.perf_counter() - middle)


def main() -> None:
    print(f"{'shape':24} {'type':10} {'fused fwd+bwd':>18} {'products fwd+bwd':>18} {'ratio fwd, bwd':>16}")
    for shape in SHAPES:
        sequences, heads, tokens, channels = shape
        for dtype in (torch.float32, torch.bfloat16):
            q, k, v = (
                torch.randn(sequences, tokens, heads, channels, dtype=dtype).transpose(1, 2).requires_grad_()
                for _ in range(3)
            )
            ways = (F.scaled_dot_product_attention, products)
            times: list[list[tuple[float, float]]] = [[], []]
            for _ in range(RUNS):
                for way, found in zip(ways, times, strict=True):
                    found.append(milliseconds(way, q, k, v))
            (a, b), (c, d) = (
                (statistics.median(t[0] for t in found), statistics.median(t[1] for t in found)) for found in times
            )
            print(f"{shape!s:24} {str(dtype)[6:]:10} {a:8.1f} + {b:7.1f} {c:8.1f} + {d:7.1f} {a / c:8.1f} {b / d:7.1f}")


if __name__ == "__main__":
    main()
