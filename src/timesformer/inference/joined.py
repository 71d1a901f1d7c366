"""Blocks rewritten for inference whose attention leaves the frame: `joint_space_time`, `sparse_local_global`, `axial`.

Class token and patches stay joined, (B, 1 + T x N, D); the steps are the model's own (`timesformer.model.schemes`),
given linear layers and attention of the engine's arithmetic.

Dimensions: B batch, T frames, N patches of a frame, D channels, H heads, K = D / H, M tokens or keys.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from timesformer.config import ModelSettings
from timesformer.inference.arithmetic import Arithmetic, own_norm, projection, step_of, weights
from timesformer.inference.fused import ClassStep, FusedMlp, Grid
from timesformer.model.block import Block, Step
from timesformer.model.schemes import After, time_with_class, unchanged


class JoinedAttention(nn.Module):
    """What a step of `schemes` asks of an attention, with the norm before it; projection and what follows as one."""

    def __init__(self, name: str, step: Step, how: Arithmetic, prefix: str) -> None:
        super().__init__()
        self.heads, self.attend = step.attention.heads, how.attend
        self.qkv = self.q = self.kv = None
        self.norm: nn.Module = own_norm(step.norm)
        if name == "global" or step.attend is time_with_class:
            weight, bias = weights(step.attention.qkv)
            width = weight.shape[1]
            self.q = how.make(f"{prefix}.{name}.q", weight[:width], bias[:width], "none")
            self.kv = how.make(f"{prefix}.{name}.kv", weight[width:], bias[width:], "none")
        else:
            self.norm, self.qkv = how.after(step.norm, f"{prefix}.{name}.qkv", step.attention.qkv)
        self.proj = how.make(f"{prefix}.{name}.proj", *projection(step), "none")

    def forward(self, x_BND: Tensor, context_BMD: Tensor | None = None) -> Tensor:
        """As `timesformer.model.attention.Attention`."""
        if context_BMD is None:
            return self.join(self.attend(*self.project(x_BND)))
        assert self.q is not None
        assert self.kv is not None
        q_BHNK = self._split(self.q(x_BND), 1)[0]
        return self.join(self.attend(q_BHNK, *self._split(self.kv(context_BMD), 2)))

    def project(self, x_BND: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of all tokens, each (B, H, N, K)."""
        assert self.qkv is not None
        return self._split(self.qkv(x_BND), 3)

    def join(self, out_BHNK: Tensor) -> Tensor:
        """Heads back into tokens, and the projection: (B, N, D)."""
        joined: Tensor = self.proj(out_BHNK.transpose(1, 2).flatten(2))
        return joined

    def _split(self, x_BND: Tensor, parts: int) -> tuple[Tensor, ...]:
        split: tuple[Tensor, ...] = x_BND.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return split


NOTHING = After(unchanged, unchanged)


class JoinedStep(nn.Module):
    """One attention step, added to the tokens in place."""

    def __init__(self, name: str, step: Step, how: Arithmetic, prefix: str) -> None:
        super().__init__()
        self.attend, self.dtype = step.attend, how.enters
        self.attention = JoinedAttention(name, step, how, prefix)

    def forward(self, tokens_BMD: Tensor, frames: int, grid: Grid) -> Tensor:
        normed = self.attention.norm(tokens_BMD).to(self.dtype)
        x_BTND = normed[:, 1:].unflatten(1, (frames, -1))
        # A step of the model asks of an attention no more than what JoinedAttention has.
        dx, dcls = self.attend(self.attention, x_BTND, normed[:, :1], grid, NOTHING)  # type: ignore[arg-type]
        if torch.compiler.is_exporting():
            start = torch.zeros_like(tokens_BMD[:, :1]) if dcls is None else dcls
            return tokens_BMD + torch.cat([start, dx.flatten(1, 2)], dim=1)
        tokens_BMD[:, 1:] += dx.flatten(1, 2)
        if dcls is not None:
            tokens_BMD[:, :1] += dcls
        return tokens_BMD


class JoinedBlock(nn.Module):
    """A block; tokens are changed in place."""

    def __init__(self, block: nn.Module, settings: ModelSettings, how: Arithmetic, prefix: str) -> None:
        super().__init__()
        assert isinstance(block, Block)
        self.steps = nn.ModuleList(JoinedStep(name, step_of(block, name), how, prefix) for name in block.order)
        self.mlp = FusedMlp(block, how, prefix)

    def forward(self, tokens_BMD: Tensor, frames: int, grid: Grid) -> Tensor:
        for step in self.steps:
            tokens_BMD = step(tokens_BMD, frames, grid)
        return tokens_BMD.add_(self.mlp(tokens_BMD))


class LastJoinedBlock(nn.Module):
    """The last block, for the class token alone: (B, D)."""

    def __init__(self, block: nn.Module, settings: ModelSettings, how: Arithmetic, prefix: str) -> None:
        super().__init__()
        assert isinstance(block, Block)
        *before, last = block.order
        self.before = nn.ModuleList(JoinedStep(name, step_of(block, name), how, prefix) for name in before)
        step = step_of(block, last)
        self.keys, self.norm = CLASS_KEYS[last], own_norm(step.norm)
        self.step = ClassStep(step.attention, projection(step))
        self.mlp = FusedMlp(block, Arithmetic(), prefix)

    def forward(self, tokens_BMD: Tensor, frames: int, grid: Grid) -> Tensor:
        for step in self.before:
            tokens_BMD = step(tokens_BMD, frames, grid)
        normed = self.norm(tokens_BMD)
        class_BD = tokens_BMD[:, 0] + self.step(normed[:, 0], self.keys(normed, frames, grid))
        last: Tensor = class_BD + self.mlp(class_BD)
        return last


def _joint_keys(tokens_BMD: Tensor, frames: int, grid: Grid) -> Tensor:
    return tokens_BMD.unsqueeze(1)


def _global_keys(tokens_BMD: Tensor, frames: int, grid: Grid) -> Tensor:
    strided = tokens_BMD[:, 1:].unflatten(1, (frames, *grid))[:, ::2, ::2, ::2]
    return torch.cat([tokens_BMD[:, :1], strided.flatten(1, 3)], dim=1).unsqueeze(1)


def _height_keys(tokens_BMD: Tensor, frames: int, grid: Grid) -> Tensor:
    columns = tokens_BMD[:, 1:].unflatten(1, (frames, *grid)).transpose(2, 3).flatten(1, 2)
    copies = tokens_BMD[:, None, :1].expand(-1, columns.shape[1], -1, -1)
    return torch.cat([copies, columns], dim=2)


# What the class token attends to in a scheme's last step: (B, L, M, D), L sets of M keys.
CLASS_KEYS: dict[str, Callable[[Tensor, int, Grid], Tensor]] = {
    "joint": _joint_keys,
    "global": _global_keys,
    "height": _height_keys,
}
