"""A row of weights over all tokens, carried backwards through the steps of the blocks: which inputs it comes from.

A step joins, copies, cuts and averages tokens, and mixes them by attention. With its attention matrices held fixed all
of that is linear, so its transpose is the derivative of the step's own function, run on tokens of one channel. Nothing
is written twice: what `time`, `space`, `local` or a registered step do with tokens is said in
`timesformer.model.schemes` alone, and no matrix over all pairs of tokens is ever made.

Dimensions: B batch, T frames, N patches of a frame, L class tokens (1 or 0), M keys.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.errors import SettingError
from timesformer.explain.matrices import Transposed
from timesformer.explain.recording import Call, Recording, StepRecord


class Row(NamedTuple):
    """A weight for every token: patches_BTN1 and cls_BL1."""

    patches: Tensor
    cls: Tensor


class Replay:
    """An attention (`timesformer.model.attention.StepAttention`) that applies recorded matrices to values."""

    def __init__(self, calls: list[Call]) -> None:
        self._calls = iter(calls)

    def __call__(self, x_BN1: Tensor, context_BM1: Tensor | None = None) -> Tensor:
        return self._apply(x_BN1 if context_BM1 is None else context_BM1, x_BN1)

    def project(self, x_BN1: Tensor) -> tuple[Tensor, ...]:
        return (x_BN1.unsqueeze(1),) * 3

    def attend(self, q_B1N1: Tensor, k_B1M1: Tensor, v_B1M1: Tensor, mask_NM: Tensor | None = None) -> Tensor:
        return self._apply(v_B1M1[:, 0], q_B1N1[:, 0]).unsqueeze(1)

    def join(self, out_B1N1: Tensor) -> Tensor:
        return out_B1N1[:, 0]

    def _apply(self, values_BM1: Tensor, queries_BN1: Tensor) -> Tensor:
        matrix = next(self._calls).matrix
        if matrix is None:
            return torch.zeros_like(queries_BN1)
        applied: Tensor = Transposed.apply(values_BM1, matrix)  # type: ignore[no-untyped-call]
        return applied


def pull_back(step: StepRecord, row: Row) -> Row:
    """What each token contributes, by one step's attention, to what the tokens of `row` gain."""
    with torch.enable_grad():
        x, cls = (torch.zeros_like(part).requires_grad_() for part in row)
        dx, dcls = step.function(Replay(step.calls), x, cls, step.grid)
        gains, weights = [dx], [row.patches]
        if dcls is not None:
            gains, weights = [dx, dcls], [row.patches, row.cls]
        found = torch.autograd.grad(gains, (x, cls), weights, allow_unused=True, materialize_grads=True)
    return Row(found[0], found[1])


def carry(recording: Recording, row: Row, *, balance: bool = False, layer: int | None = None) -> Row:
    """The row before the blocks, of one after them; through block number `layer` alone where one is given.

    A step adds what it computes to its input; the two count alike, (I + A) / 2, so that a row that sums to one still
    does (Abnar and Zuidema, 2020). balance: for matrices whose rows do not sum to one; what a step's attention
    contributes is scaled as a whole until it does.

    Raises SettingError for a layer that is not there.
    """
    depth = len(recording.blocks)
    if layer is not None and not -depth <= layer < depth:
        raise SettingError(f"layer {layer}: a model of {depth} blocks has 0 to {depth - 1}, or -{depth} to -1")
    for steps in recording.blocks[::-1] if layer is None else [recording.blocks[layer]]:
        for group in [steps] if recording.parallel else [[step] for step in reversed(steps)]:
            row = Row(row.patches / (1 + len(group)), row.cls / (1 + sum(step.gains_class for step in group)))
            pulled = [pull_back(step, row) for step in group]
            if balance:
                pulled = [_balanced(step, row, one) for step, one in zip(group, pulled, strict=True)]
            row = Row(sum((one.patches for one in pulled), row.patches), sum((one.cls for one in pulled), row.cls))
    return row


def head_row(recording: Recording) -> Row:
    """The tokens that the head sees, as weights that sum to one: after the blocks of a recording of one clip."""
    step = next(step for steps in recording.blocks for step in steps)
    (batch, frames, patches), like = step.shape, recording.like
    row = Row(like.new_zeros(batch, frames, patches, 1), like.new_zeros(batch, step.class_tokens, 1))
    if recording.pools == "class_token":
        row.cls.fill_(1 / batch)  # of frames apart, the class token of each
    elif recording.pools == "mean":
        row.patches.fill_(1 / row.patches.numel())
    elif recording.pools == "first_patch":
        row.patches[0, 0, 0] = 1
    elif (matrix := recording.pooling[0].matrix) is not None:
        weights_M = matrix.pull_back(like.new_ones(1, 1, 1)).flatten()
        cls, tokens = weights_M.tensor_split([step.class_tokens])
        row.patches.copy_(tokens.view(row.patches.shape))
        row.cls.copy_((cls / batch).expand(batch, -1).unsqueeze(-1))
    return row


def query_row(recording: Recording, frame: int, patch: int) -> Row:
    """One patch after the blocks, by its frame (or tubelet) and its number in it: weight 1."""
    row = head_row(recording)
    row.patches.zero_()
    row.cls.zero_()
    row.patches.flatten(0, 1)[frame, patch] = 1
    return row


def patch_map(recording: Recording, row: Row) -> Tensor:
    """The weights of the patches, (T, rows, columns)."""
    step = next(step for steps in recording.blocks for step in steps)
    map_THW: Tensor = row.patches.flatten(0, 1).unflatten(1, step.grid).squeeze(-1)
    return map_THW


def _balanced(step: StepRecord, row: Row, pulled: Row) -> Row:
    """What was pulled back, scaled to the sum of the weights of the tokens that gain by the step; they themselves where
    nothing was."""
    gaining = Row(row.patches, row.cls if step.gains_class else torch.zeros_like(row.cls))
    total = pulled.patches.sum() + pulled.cls.sum()
    if not total:
        return gaining
    factor = (gaining.patches.sum() + gaining.cls.sum()) / total
    return Row(pulled.patches * factor, pulled.cls * factor)
