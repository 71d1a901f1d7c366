"""The embedding rewritten for an engine: it takes bytes.

/255, mean, standard deviation and channel order are in its weights; patches are rows of one matrix product; class
token, bias and position tables are one table, added once.

Dimensions: B batch, T frames (of a model with tubelets, tubelets), N patches of a frame, S = 1 + N slots, the class
token's first (S = N where there is none), D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from timesformer.config import Preprocessing
from timesformer.engine.arithmetic import Arithmetic
from timesformer.engine.parts import own, take_linear
from timesformer.model.embed import Embedding, is_known, resize_fixed, resize_space, resize_time
from timesformer.model.tokens import Grid

CENTRE = 128  # taken off the bytes before the product, so that a bfloat16 one loses less; both are exact


class FusedEmbedding(nn.Module):
    """Bytes (B, 3, T, rows, columns) to tokens x_TBSD in float32."""

    bias: Tensor
    class_token: Tensor | None
    space: Tensor | None
    time: Tensor | None
    fixed: Tensor | None

    def __init__(self, embedding: Embedding, preprocessing: Preprocessing, how: Arithmetic) -> None:
        super().__init__()
        self.dtype, self.side, self.tubelet = how.embeds, embedding.patch_size, embedding.tubelet
        self.grid, self.resize = embedding.grid, embedding.resize
        projection = take_linear(embedding.projection)
        weight = projection.weight.double().unflatten(1, (3, self.tubelet))
        if preprocessing.channels == "bgr":
            weight = weight.flip(1)
        mean, std = (
            torch.tensor(value, dtype=torch.float64, device=weight.device).view(1, 3, 1, 1, 1)
            for value in (preprocessing.mean, preprocessing.std)
        )
        bias = projection.bias.double() + (weight * (CENTRE / 255 - mean) / std).sum((1, 2, 3, 4))
        matrix = (weight / std / 255).flatten(1)
        self.project = how.make("embedding", matrix.float(), torch.zeros_like(bias).float(), "none")
        self.register_buffer("bias", bias.float())
        for name, table in (
            ("class_token", embedding.class_token),
            ("space", embedding.space_table),
            ("time", embedding.time_table),
            ("fixed", embedding.fixed_table),
        ):
            self.register_buffer(name, None if table is None else own(table))
        self.tables: dict[tuple[int, Grid], Tensor] = {}

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        batch, colours = clips_BCTHW.shape[:2]
        frames, grid = self.shape(clips_BCTHW)
        patches = clips_BCTHW.view(batch, colours, frames, self.tubelet, grid[0], self.side, grid[1], self.side)
        patches = patches.permute(2, 0, 4, 6, 1, 3, 5, 7).flatten(4).flatten(2, 3)
        projected: Tensor = self.project(patches.to(self.dtype) - CENTRE)
        table_T1SD = self.table(frames, grid)
        if self.class_token is None:
            return projected + table_T1SD
        slots = table_T1SD[:, :, :1].expand(-1, batch, -1, -1)
        return torch.cat([slots, projected + table_T1SD[:, :, 1:]], dim=2)

    def shape(self, clips_BCTHW: Tensor) -> tuple[int, Grid]:
        """Frames of a clip, and rows and columns of a frame's patches."""
        frames, rows, columns = clips_BCTHW.shape[2:]
        return frames // self.tubelet, (rows // self.side, columns // self.side)

    def table(self, frames: int, grid: Grid) -> Tensor:
        """All that is added to the projected patches of a clip, and the class token in its slots: (T, 1, S, D)."""
        if not is_known((frames, *grid)):
            return self._make_table(frames, grid)
        if (frames, grid) not in self.tables:
            self.tables[frames, grid] = self._make_table(frames, grid)
        return self.tables[frames, grid]

    def _make_table(self, frames: int, grid: Grid) -> Tensor:
        patches_T1ND = self.bias.expand(frames, 1, grid[0] * grid[1], -1)
        if self.space is not None:
            patches_T1ND = patches_T1ND + resize_space(self.space[:, 1:], self.grid, grid, self.resize)
        if self.time is not None:
            patches_T1ND = patches_T1ND + resize_time(self.time, frames, self.resize)[0, :, None, None]
        if self.fixed is not None:
            patches_T1ND = patches_T1ND + resize_fixed(self.fixed, self.grid, frames, grid, self.resize)[:, None]
        if self.class_token is None:
            return patches_T1ND
        class_token = self.class_token if self.space is None else self.class_token + self.space[:, :1]
        return torch.cat([class_token.expand(frames, 1, 1, -1), patches_T1ND], dim=2)
