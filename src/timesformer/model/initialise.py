"""The initial weights of a network.

released  As the released code: linear weights at a standard deviation of 0.02, the space table too, the time table
          and the last linear layer of added steps at zero. Right where an image model's weights follow.
scratch   Linear weights at 1 / sqrt(inputs), and position tables of smooth waves at the scale of the patch tokens,
          so that position and time distinguish tokens from the first step. A small network learns motion far sooner:
          docs/results.md has the measurements.
motion    As scratch. Where an image model's weights follow, as released, but with a time table of smooth waves at the
          scale of the patch tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from timesformer.config import Initialisation
from timesformer.model.block import Step
from timesformer.model.embed import Embedding

TIME_SCALE = 0.46  # measured: docs/results.md, "Learning motion from an image model"


def initialise(model: nn.Module, how: Initialisation) -> None:
    """Draw all weights of a model from torch's global random numbers."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            std = 0.02 if how == "released" else module.in_features**-0.5
            nn.init.trunc_normal_(module.weight, std=std)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, Step) and module.fc is not None:
            nn.init.zeros_(module.fc.weight)
        elif isinstance(module, Embedding):
            _tables(module, how)


@torch.no_grad()
def _tables(embedding: Embedding, how: Initialisation) -> None:
    if embedding.class_token is not None:
        nn.init.trunc_normal_(embedding.class_token, std=0.02)
    if embedding.space_table is not None:
        nn.init.trunc_normal_(embedding.space_table, std=0.02)
        if how != "released":
            side, width = embedding.grid, embedding.space_table.shape[2]
            rows, columns = waves(side, width // 2), waves(side, width - width // 2)
            grid = torch.cat([rows[:, None].expand(-1, side, -1), columns[None].expand(side, -1, -1)], dim=2)
            embedding.space_table[0, 1:] = _turned(grid.flatten(0, 1))
    if embedding.time_table is not None:
        nn.init.zeros_(embedding.time_table)
        if how != "released":
            embedding.time_table[0] = _turned(waves(*embedding.time_table.shape[1:]))


@torch.no_grad()
def draw_time_table(model: nn.Module, scale: float = TIME_SCALE) -> None:
    """Give a model whose image model's weights are in place a time table of smooth waves.

    scale: of the deviation that the patch projection gives tokens of random pixels. Tokens of clips have about half of
    that: 0.079 of 0.171, of DINOv2-small.
    """
    for module in model.modules():
        if isinstance(module, Embedding) and module.time_table is not None:
            deviation = module.projection.weight.flatten(1).norm(dim=1).square().mean().sqrt()
            module.time_table[0] = scale * deviation * _turned(waves(*module.time_table.shape[1:]))


def waves(places: int, channels: int) -> Tensor:
    """Sines and cosines along an axis, from half a wave to four over its length, around zero: (places, channels)."""
    half = (channels + 1) // 2
    place = (torch.arange(places) + 0.5) / places
    angle = math.pi * place[:, None] * 2 ** (3 * torch.arange(half) / half)
    table = math.sqrt(2) * torch.cat([angle.sin(), angle.cos()], dim=1)[:, :channels]
    return table - table.mean(0)


def _turned(table_ND: Tensor) -> Tensor:
    """The table in another, random basis, so that space and time do not share channels."""
    turn_DD = torch.empty(table_ND.shape[1], table_ND.shape[1])
    nn.init.orthogonal_(turn_DD)
    return table_ND @ turn_DD
