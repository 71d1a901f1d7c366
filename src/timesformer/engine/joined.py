"""Class token and patches joined, (B, 1 + T x N, D), for schemes of any steps.

The steps are the model's own functions (`timesformer.model.schemes`), given an attention with the linear layers and the
products of the engine's arithmetic.

Dimensions: B batch, T frames, N patches of a frame, D channels, H heads, K = D / H, M tokens or keys.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from timesformer.engine.arithmetic import Arithmetic
from timesformer.engine.layout import Layout, StepsBlock
from timesformer.engine.parts import StepParts
from timesformer.engine.probing import probe
from timesformer.model.attention import join_heads, split_heads
from timesformer.model.tokens import Grid, join_tokens


class JoinedLayout(Layout):
    """tokens_BMD. class_tokens: how many come before the patches, 1 or 0."""

    def __init__(self, class_tokens: int = 1) -> None:
        self.class_tokens = class_tokens

    def start(self, x_TBSD: Tensor) -> Tensor:
        patches_BQD = x_TBSD[:, :, self.class_tokens :].transpose(0, 1).flatten(1, 2)
        return torch.cat([x_TBSD[0, :, :1], patches_BQD], dim=1) if self.class_tokens else patches_BQD

    def frames(self, frames: int) -> int:
        return frames

    def sets(self, x: Tensor) -> Tensor:
        return x.unsqueeze(1)

    def numbers(self, frames: int, grid: Grid) -> Tensor:
        return torch.arange(1 + frames * grid[0] * grid[1])[None]

    def class_token(self, x: Tensor) -> Tensor:
        return x[:, 0]

    def merge(self, class_XD: Tensor, batch: int) -> Tensor:
        return class_XD

    def tokens(self, x: Tensor) -> Tensor:
        return x

    def step(self, parts: StepParts, how: Arithmetic, prefix: str) -> nn.Module:
        return JoinedStep(parts, how, prefix, self.class_tokens)

    def block(self, steps: dict[str, nn.Module], mlp: nn.Module | None, *, parallel: bool) -> StepsBlock:
        assert not parallel  # only steps side by side are those of divided_space_time
        return JoinedBlock(steps, mlp)


class JoinedAttention(nn.Module):
    """The attention of a step, `timesformer.model.attention.StepAttention`, with the norm before it.

    Queries, keys and values are one product, or two where the step gives its attention a context.
    """

    def __init__(self, parts: StepParts, how: Arithmetic, prefix: str) -> None:
        super().__init__()
        self.heads, self.attend = parts.heads, how.attend
        self.norm: nn.Module = parts.norm
        self.qkv = self.q = self.kv = None
        if probe(parts.step).context:
            weight, bias = parts.qkv
            width = weight.shape[1]
            self.q = how.make(f"{prefix}.{parts.name}.q", weight[:width], bias[:width], "none")
            self.kv = how.make(f"{prefix}.{parts.name}.kv", weight[width:], bias[width:], "none")
        else:
            self.norm, self.qkv = how.after(parts.norm, f"{prefix}.{parts.name}.qkv", parts.qkv)
        self.proj = how.make(f"{prefix}.{parts.name}.proj", *parts.proj, "none")

    def forward(self, x_BND: Tensor, context_BMD: Tensor | None = None) -> Tensor:
        """As `timesformer.model.attention.Attention`."""
        return self.join(self.attend(*self.project(x_BND, context_BMD)))

    def project(self, x_BND: Tensor, context_BMD: Tensor | None = None) -> tuple[Tensor, ...]:
        """Queries of x, keys and values of x or of the context, each (B, H, N or M, K)."""
        if self.qkv is not None:
            assert context_BMD is None
            return split_heads(self.qkv(x_BND), 3, self.heads)
        assert self.q is not None
        assert self.kv is not None
        (q_BHNK,) = split_heads(self.q(x_BND), 1, self.heads)
        return q_BHNK, *split_heads(self.kv(x_BND if context_BMD is None else context_BMD), 2, self.heads)

    def join(self, out_BHNK: Tensor) -> Tensor:
        """Heads back into tokens, and the projection: (B, N, D)."""
        joined: Tensor = self.proj(join_heads(out_BHNK))
        return joined


class JoinedStep(nn.Module):
    """One attention step, added to the tokens in place."""

    def __init__(self, parts: StepParts, how: Arithmetic, prefix: str, class_tokens: int) -> None:
        super().__init__()
        self.function, self.dtype, self.first = parts.step.function, how.enters, class_tokens
        self.attention = JoinedAttention(parts, how, prefix)
        self.fc = None if parts.fc is None else how.make(f"{prefix}.{parts.name}.fc", *parts.fc, "none")

    def forward(self, tokens_BMD: Tensor, frames: int, grid: Grid) -> Tensor:
        normed = self.attention.norm(tokens_BMD).to(self.dtype)
        x_BTND = normed[:, self.first :].unflatten(1, (frames, -1))
        dx, dcls = self.function(self.attention, x_BTND, normed[:, : self.first], grid)
        if self.fc is not None:
            dx, dcls = self.fc(dx), None if dcls is None else self.fc(dcls)
        if torch.compiler.is_exporting():
            start = torch.zeros_like(tokens_BMD[:, : self.first]) if dcls is None else dcls
            return tokens_BMD + join_tokens(dx, start)
        tokens_BMD[:, self.first :] += dx.flatten(1, 2)
        if dcls is not None:
            tokens_BMD[:, : self.first] += dcls
        return tokens_BMD


class JoinedBlock(StepsBlock):
    """A block; tokens are changed in place."""

    def forward(self, tokens_BMD: Tensor, frames: int, grid: Grid) -> Tensor:
        for step in self.steps:
            tokens_BMD = step(tokens_BMD, frames, grid)
        return tokens_BMD if self.mlp is None else tokens_BMD.add_(self.mlp(tokens_BMD))
