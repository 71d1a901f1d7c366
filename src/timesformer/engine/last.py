"""The last block of a network, of which the head sees only the class token.

Steps after the last one that changes the class token are skipped; that step has one query, which is multiplied into the
matrices of keys and values, so that these need no products of their own; the MLP has one row.

Dimensions: H heads, K channels of a head, D channels, X any clips, L sets of M keys each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from timesformer.engine.arithmetic import Arithmetic
from timesformer.engine.layout import Layout
from timesformer.engine.linear import PlainLinear
from timesformer.engine.mlp import FusedMlp
from timesformer.engine.parts import LinearParts, MlpParts, StepParts, active_steps, take_mlp, take_step
from timesformer.engine.probing import probe
from timesformer.model.block import Block, Step
from timesformer.model.schemes import AttentionStep
from timesformer.model.tokens import Grid


class ClassStep(nn.Module):
    """What one query a set of keys gains from an attention: the class token in the last step, or pooling's query.

    (W_k x + b_k) q = x (W_k^T q) + a constant that softmax cancels, and sum a (W_v x + b_v) = W_v (sum a x) + b_v, so
    neither keys nor values are computed.
    """

    wq: Tensor
    wk: Tensor
    wv: Tensor
    bq: Tensor
    bv: Tensor

    def __init__(self, qkv: LinearParts, proj: LinearParts, heads: int) -> None:
        super().__init__()
        weight_3HKD, bias_3HK = (part.unflatten(0, (3, heads, -1)) for part in qkv)
        self.scale = weight_3HKD.shape[2] ** -0.5
        for name, tensor in (
            ("wq", weight_3HKD[0]),
            ("wk", weight_3HKD[1]),
            ("wv", weight_3HKD[2]),
            ("bq", bias_3HK[0]),
            ("bv", bias_3HK[2]),
        ):
            self.register_buffer(name, tensor.clone(memory_format=torch.contiguous_format))
        self.proj = PlainLinear(*proj)

    def forward(self, class_XD: Tensor, keys_XLMD: Tensor) -> Tensor:
        """The gain (X, D), averaged over L sets of M keys; both normalised already."""
        q_XHK = torch.einsum("xd,hkd->xhk", class_XD, self.wq) + self.bq
        query_XHD = torch.einsum("xhk,hkd->xhd", q_XHK, self.wk) * self.scale
        weights_XLHM = (query_XHD.unsqueeze(1) @ keys_XLMD.transpose(2, 3)).softmax(-1)
        seen_XHD = (weights_XLHM @ keys_XLMD).mean(1)
        out_XHK = torch.einsum("xhd,hkd->xhk", seen_XHD, self.wv) + self.bv
        gain: Tensor = self.proj(out_XHK.flatten(1))
        return gain

    def qkv(self) -> LinearParts:
        """Queries, keys and values as one layer again; without the bias of the keys, which softmax cancels."""
        weights, biases = (self.wq, self.wk, self.wv), (self.bq, torch.zeros_like(self.bq), self.bv)
        return LinearParts(torch.cat([w.flatten(0, 1) for w in weights]), torch.cat([b.flatten() for b in biases]))


class LastBlock(nn.Module):
    """The last block, for the class token alone: tokens of a layout to (X, D). For blocks that `has_class_keys`."""

    def __init__(self, block: Block, layout: Layout, how: Arithmetic, prefix: str) -> None:
        super().__init__()
        self.layout, self.wide, self.prefix = layout, how.wide or how, prefix
        self.order, self.parallel = active_steps(block), block.parallel
        self.name = _last_of_class_token(block) or ""
        number = 0 if self.parallel else self.order.index(self.name)
        before, after = self.order[:number], [name for name in self.order[number:] if name != self.name]
        self.before = layout.block(
            {name: layout.step(take_step(block, name), how, prefix) for name in before}, None, parallel=False
        )
        # Only `whole` runs these, which nothing is calibrated for.
        self.skipped = nn.ModuleDict({name: layout.step(take_step(block, name), self.wide, prefix) for name in after})
        parts = take_step(block, self.name)
        self.attention, self.heads, self.norm = parts.step, parts.heads, parts.norm
        self.step = ClassStep(parts.qkv, parts.proj, parts.heads)
        self.mlp = FusedMlp(take_mlp(block), Arithmetic(), prefix)
        self.slots: dict[tuple[int, Grid], Tensor | None] = {}

    def prepare(self, frames: int, grid: Grid) -> None:
        """Find where the class token's keys lie in clips of this shape."""
        if (frames, grid) in self.slots:
            return
        numbers_LM, keys_LM = self.layout.numbers(frames, grid), self.attention.indices(frames, grid).cls_LM
        assert keys_LM is not None
        if torch.equal(numbers_LM, keys_LM):  # they are all there is, in the sets in which they lie
            self.slots[frames, grid] = None
            return
        slot_of = torch.empty(int(numbers_LM.max()) + 1, dtype=torch.long)
        slot_of[numbers_LM.flatten()] = torch.arange(numbers_LM.numel())
        self.slots[frames, grid] = slot_of[keys_LM].to(self.step.wq.device)

    def forward(self, x: Tensor, frames: int, grid: Grid) -> Tensor:
        """After `prepare`, for this shape."""
        sets_XLMD = self.layout.sets(self.before(x, frames, grid))
        slots_LM = self.slots[frames, grid]
        keys_XLMD = sets_XLMD if slots_LM is None else sets_XLMD.flatten(1, 2)[:, slots_LM]
        class_XD = sets_XLMD[:, 0, 0]
        class_XD = class_XD + self.step(self.norm(class_XD), self.norm(keys_XLMD))
        last: Tensor = class_XD + self.mlp(class_XD)
        return last

    def whole(self) -> nn.Module:
        """The same block for all tokens, made of the weights that are here; what is new is in floating point."""
        before, mlp = self.before.named_steps(), self.mlp
        parts = StepParts(self.name, self.attention, self.heads, self.norm, self.step.qkv(), _layer(self.step.proj))
        own = {self.name: self.layout.step(parts, self.wide, self.prefix), **before, **self.skipped}
        mlp = FusedMlp(MlpParts(mlp.norm, _layer(mlp.fc1), _layer(mlp.fc2)), self.wide, self.prefix)
        return self.layout.block({name: own[name] for name in self.order}, mlp, parallel=self.parallel)


def has_class_keys(block: Block) -> bool:
    """Whether what the class token gains last is its attention to the keys that its step states."""
    name = _last_of_class_token(block)
    if name is None:
        return False
    found = probe(_attention(block, name))
    return found.by_keys and found.linear


def _last_of_class_token(block: Block) -> str | None:
    """The last step that changes the class token; None where none does."""
    return next((name for name in reversed(active_steps(block)) if probe(_attention(block, name)).class_token), None)


def _attention(block: Block, name: str) -> AttentionStep:
    step = block.steps[name]
    assert isinstance(step, Step)
    return step.step


def _layer(linear: nn.Module) -> LinearParts:
    assert isinstance(linear, PlainLinear)
    return LinearParts(linear.weight, linear.bias)
