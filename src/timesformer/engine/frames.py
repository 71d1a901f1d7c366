"""Tokens frames first, for schemes whose attention stays in a frame or goes along time.

Tokens are x_TBSD: frames first, and in each frame a slot for the class token before those of the patches. So attention
inside a frame and along time both see their tokens without a copy, and nothing is ever joined or split. The copies of
the class token are equal wherever the model has one: `time` restores them, `space` averages them. Where frames are
apart (`space_only`), each keeps its own.

Dimensions: B batch, T frames, N patches of a frame, S = 1 + N slots of a frame, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from timesformer.engine.arithmetic import Arithmetic
from timesformer.engine.layout import Layout, StepsBlock
from timesformer.engine.parts import StepParts
from timesformer.model.attention import join_heads, split_heads
from timesformer.model.schemes import TIME_WITH_CLASS
from timesformer.model.tokens import Grid, number_patches

STEPS = frozenset({"space", "time"})


class FramesLayout(Layout):
    """x_TBSD. apart: whether each frame is a clip of its own until the end."""

    def __init__(self, *, apart: bool) -> None:
        self.apart = apart

    def start(self, x_TBSD: Tensor) -> Tensor:
        return x_TBSD

    def frames(self, frames: int) -> int:
        return 1 if self.apart else frames

    def sets(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1).unsqueeze(1) if self.apart else x.transpose(0, 1)

    def numbers(self, frames: int, grid: Grid) -> Tensor:
        return pad(number_patches(frames, grid).flatten(1), (1, 0))

    def class_token(self, x: Tensor) -> Tensor:
        return x[:, :, 0].mean(0)

    def merge(self, class_XD: Tensor, batch: int) -> Tensor:
        return class_XD.unflatten(0, (-1, batch)).mean(0) if self.apart else class_XD

    def tokens(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :, :1].mean(0), x[:, :, 1:].transpose(0, 1).flatten(1, 2)], dim=1)

    def step(self, parts: StepParts, how: Arithmetic, prefix: str) -> nn.Module:
        return FramesStep(parts, how, prefix)

    def block(self, steps: dict[str, nn.Module], mlp: nn.Module | None, *, parallel: bool) -> StepsBlock:
        return FramesBlock(steps, mlp, parallel=parallel, average=not self.apart)


class FramesStep(nn.Module):
    """One attention step inside frames or along time, on all slots: what they gain."""

    def __init__(self, parts: StepParts, how: Arithmetic, prefix: str) -> None:
        super().__init__()
        self.along_time, self.class_in_time = parts.name == "time", parts.step is TIME_WITH_CLASS
        self.heads, self.dtype, self.attend = parts.heads, how.enters, how.attend
        self.norm, self.qkv = how.after(parts.norm, f"{prefix}.{parts.name}.qkv", parts.qkv)
        self.proj = how.make(f"{prefix}.{parts.name}.proj", *parts.proj, "none")

    def forward(self, x_TBSD: Tensor) -> Tensor:
        qkv = self.qkv(self.norm(x_TBSD).to(self.dtype))
        frames, batch, slots = qkv.shape[:3]
        if self.along_time:
            q, k, v = split_heads(qkv.flatten(1, 2).transpose(0, 1), 3, self.heads)
            if self.class_in_time:
                _, *first = split_heads(qkv[0, :, :1].expand(-1, slots, -1).flatten(0, 1).unsqueeze(1), 3, self.heads)
                k, v = torch.cat([first[0], k], dim=2), torch.cat([first[1], v], dim=2)
            out = self.attend(q, k, v).permute(2, 0, 1, 3).flatten(2)
        else:
            out = join_heads(self.attend(*split_heads(qkv.flatten(0, 1), 3, self.heads)))
        gain: Tensor = self.proj(out.view(frames, batch, slots, -1))
        return gain


class FramesBlock(StepsBlock):
    """A block of such steps; tokens are changed in place. average: whether copies of the class token stay equal."""

    def __init__(self, steps: dict[str, nn.Module], mlp: nn.Module | None, *, parallel: bool, average: bool) -> None:
        super().__init__(steps, mlp)
        self.parallel, self.average = parallel, average

    def forward(self, x_TBSD: Tensor, frames: int, grid: Grid) -> Tensor:
        gains = []
        for name, step in self.named_steps().items():
            gain = step(x_TBSD)
            if name == "time":
                gain = with_class_slots(gain, torch.zeros_like(gain[:, :, :1]))
            elif self.average:
                gain = with_class_slots(gain, gain[:, :, :1].mean(0, keepdim=True).expand(gain.shape[0], -1, -1, -1))
            if self.parallel:
                gains.append(gain)
            else:
                x_TBSD.add_(gain)
        for gain in gains:
            x_TBSD.add_(gain)
        return x_TBSD if self.mlp is None else x_TBSD.add_(self.mlp(x_TBSD))


def with_class_slots(x_TBSD: Tensor, slots_TB1D: Tensor) -> Tensor:
    """The same with other class slots; in place but in a graph to be exported, where writing is slower than joining."""
    if torch.compiler.is_exporting():
        return torch.cat([slots_TB1D, x_TBSD[:, :, 1:]], dim=2)
    x_TBSD[:, :, :1] = slots_TB1D
    return x_TBSD
