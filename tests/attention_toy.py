"""A TimeSformer of attention alone, whose tokens are one-hot: what it computes is where each token went.

Norms and values are the identity, projections take the mean of the heads, the MLP is zero, and token i of 1 + T N is
the i-th unit vector, once for each head. A token's residual counts as much as what each step adds to it. So after the
blocks channel j of token i is what token j has contributed to it, by brute force: by the model's own forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from timesformer.config.explain import Explain
from timesformer.explain.propagation import Row, carry, head_row, query_row
from timesformer.explain.recording import RecordedModel, Recording
from timesformer.explain.rollout import record_rollout
from timesformer.model.block import Block
from timesformer.model.timesformer import TimeSformer

Shape = tuple[int, int, int]  # frames, rows and columns of patches


class OneHot(nn.Module):
    """In place of an embedding: unit vectors, once for each head."""

    def __init__(self, shape: Shape, heads: int) -> None:
        super().__init__()
        self.shape, self.heads = shape, heads

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        frames, rows, columns = self.shape
        tokens = torch.eye(1 + frames * rows * columns, dtype=torch.float64).repeat(1, self.heads)[None]
        return tokens[:, 1:].unflatten(1, (frames, -1)), tokens[:, :1], (rows, columns)


class Nothing(nn.Module):
    """In place of an MLP."""

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.zeros_like(tokens)


class Average:
    """Makes a step's gain part of a mean of it and its input, in which side by side each step counts once."""

    def __init__(self, block: Block) -> None:
        self.parts = 1 + (len(block.steps) if block.parallel else 1)

    def __call__(self, step: nn.Module, inputs: Any, gains: tuple[Tensor, Tensor | None]) -> Any:
        (x, cls, _), (dx, dcls) = inputs, gains
        # Of divided attention's steps the class token takes part in one.
        return (dx - x) / self.parts, None if dcls is None else (dcls - cls) / 2


def toy(shape: Shape, *, sharpness: float | None = None, heads: int = 1, **settings: Any) -> RecordedModel:
    """Queries and keys are random; with a `sharpness` both are the tokens times it, so that each finds itself."""
    frames, rows, columns = shape
    tokens = 1 + frames * rows * columns
    width = heads * tokens
    values = {"depth": 2, "num_frames": frames, "image_size": 8, "patch_size": 8, "num_classes": 2, "position": "none"}
    torch.manual_seed(0)
    recorded = RecordedModel(TimeSformer(width=width, heads=heads, **{**values, **settings}).double().eval())
    model = recorded.model
    model.embedding, model.norm = OneHot(shape, heads), nn.Identity()  # type: ignore[assignment]
    for block in model.blocks():
        block.norm, block.mlp = nn.Identity(), Nothing()
        average = Average(block)
        for step in block.steps.values():
            step.register_forward_hook(average)
            step.norm = nn.Identity()
            query_key = torch.randn(2 * width, width, dtype=torch.float64) * tokens**0.25
            if sharpness is not None:
                query_key = sharpness * torch.eye(width, dtype=torch.float64).repeat(2, 1)
            step.attention.qkv.weight.copy_(torch.cat([query_key, torch.eye(width, dtype=torch.float64)]))
            step.attention.proj.weight.copy_(torch.eye(tokens, dtype=torch.float64).repeat(heads, heads) / heads)
            if step.fc is not None:
                step.fc.weight.copy_(torch.eye(width))
            for linear in (step.attention.qkv, step.attention.proj, step.fc):
                if linear is not None:
                    linear.bias.zero_()
    return recorded


def clip(shape: Shape) -> Tensor:
    """A clip whose number of frames is right; nobody looks at it."""
    return torch.zeros(1, 3, shape[0], 8, 8, dtype=torch.float64)


def brute_force(recorded: RecordedModel, shape: Shape) -> Tensor:
    """What the toy computes: (1 + T N, 1 + T N)."""
    tokens: Tensor = recorded.model.forward_layer(clip(shape), tokens=True)[0]
    return tokens[:, : len(tokens)]  # what each head holds is the same


def carried(recorded: RecordedModel, shape: Shape) -> Tensor:
    """The same from the recorded attention, row by row."""
    recording = record_rollout(recorded, clip(shape), Explain())
    frames, rows, columns = shape
    starts = [head_row(recording)]
    starts += [query_row(recording, frame, patch) for frame in range(frames) for patch in range(rows * columns)]
    return torch.stack([flat(recording, carry(recording, start)) for start in starts])


def flat(recording: Recording, row: Row) -> Tensor:
    """A row as one vector, the class token first."""
    return torch.cat([row.cls.flatten().sum()[None], row.patches.flatten()])
