"""The attention matrices of one call of attention, fused over its heads.

They are made a few queries at a time, and kept only where they are smaller than what they are made of: those of divided
attention are, those of a long clip's joint attention are not, and are made again when they are needed.

Dimensions: B batch, H heads, N queries, C of them at a time, M keys, K channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

AT_ONCE = 2**24  # entries, of all heads, that are made at a time
Rows = Callable[[slice], Tensor]  # rows (B, C, M) of a slice of the queries


def attention_weights(q_BHNK: Tensor, k_BHMK: Tensor, mask_NM: Tensor | None = None) -> Tensor:
    """softmax(q k / sqrt(K) + mask), whose rows sum to one: (B, H, N, M)."""
    scores_BHNM = q_BHNK @ k_BHMK.transpose(-1, -2) * q_BHNK.shape[-1] ** -0.5
    weights_BHNM: Tensor = (scores_BHNM if mask_NM is None else scores_BHNM + mask_NM).softmax(-1)
    return weights_BHNM


class AttentionMatrix:
    """A matrix (B, N, M), applied without being whole.

    rows: makes the rows of a slice of the queries. queries: how many there are. row_size: entries of all heads in one
    of their rows, for which memory must suffice. keep: whether the matrix is kept.
    """

    def __init__(self, rows: Rows, queries: int, row_size: int, *, keep: bool) -> None:
        self.queries, self._rows = queries, rows
        self._step = max(1, AT_ONCE // max(row_size, 1))
        if keep:
            whole = torch.cat([rows(part) for part in self._parts()], dim=1)
            self._rows, self._step = lambda part: whole[:, part], queries

    def _parts(self) -> list[slice]:
        return [slice(first, first + self._step) for first in range(0, self.queries, self._step)]

    def whole(self) -> Tensor:
        """All of it: (B, N, M)."""
        return torch.cat([self._rows(part) for part in self._parts()], dim=1)

    def pull_back(self, weights_BND: Tensor) -> Tensor:
        """The transposed matrix times the weights of the queries: what each key contributes to them, (B, M, D)."""
        parts = [self._rows(part).transpose(1, 2) @ weights_BND[:, part] for part in self._parts()]
        return torch.stack(parts).sum(0)


class Transposed(torch.autograd.Function):
    """A matrix times values. It is linear, so its derivative, which alone is asked for, is the same everywhere: it is
    taken at zero, where its result is zero."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values_BMD: Tensor, matrix: AttentionMatrix) -> Tensor:
        ctx.matrix = matrix  # type: ignore[attr-defined]
        return values_BMD.new_zeros(len(values_BMD), matrix.queries, values_BMD.shape[2])

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *weights_BND: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.pull_back(weights_BND[0]), None  # type: ignore[attr-defined]
