"""A clip becomes tokens: patches, class token, position tables (paper, Eq. 1).

Dimensions: B batch, C 3 colours, T frames, H and W rows and columns (of pixels, then of patches),
N = H x W patches of a frame, D channels of a token.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.config import PositionResize, TimeSformerSettings


class Embedding(nn.Module):
    """Patch projection, class token and learned position tables.

    The space table has one row for the class token before those of the patches; the time table has one row a
    frame and is shared by all patches of it.
    """

    def __init__(self, settings: TimeSformerSettings) -> None:
        super().__init__()
        width = settings.dimensions.width
        self.patch_size = settings.patch_size
        self.resize = settings.position_resize
        self.grid = settings.image_size // settings.patch_size
        self.projection = nn.Conv2d(3, width, settings.patch_size, settings.patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.space_table: nn.Parameter | None = None
        self.time_table: nn.Parameter | None = None
        if settings.position != "none":
            self.space_table = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        if settings.position == "space_time" and settings.scheme != "space_only":
            self.time_table = nn.Parameter(torch.zeros(1, settings.num_frames, width))
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, clips_BCTHW: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Patch tokens x_BTND, class token cls_B1D and the grid (H, W) of patches of a frame."""
        batch, _, frames, _, _ = clips_BCTHW.shape
        patches = self.projection(clips_BCTHW.transpose(1, 2).flatten(0, 1))
        grid = (patches.shape[-2], patches.shape[-1])
        x_BTND = patches.flatten(2).transpose(1, 2).unflatten(0, (batch, frames))
        cls_B1D = self.class_token.expand(batch, -1, -1)
        if self.space_table is not None:
            cls_B1D = cls_B1D + self.space_table[:, :1]
            x_BTND = x_BTND + resize_space(self.space_table[:, 1:], self.grid, grid, self.resize).unsqueeze(1)
        if self.time_table is not None:
            x_BTND = x_BTND + resize_time(self.time_table, frames, self.resize).unsqueeze(2)
        return self.dropout(x_BTND), self.dropout(cls_B1D), grid


def resize_space(table_1ND: Tensor, side: int, grid: tuple[int, int], how: PositionResize) -> Tensor:
    """The square table of side x side patches for a grid of (H, W) patches: (1, H x W, D).

    "bicubic"; "nearest" as the released code's forward pass does; "nearest_flat" as its weight loader does, along the
    flattened table, which mixes up rows.
    """
    if grid == (side, side):
        return table_1ND
    if how == "nearest_flat":
        return F.interpolate(table_1ND.transpose(1, 2), size=grid[0] * grid[1], mode="nearest").transpose(1, 2)
    image = table_1ND.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    if how == "nearest":
        image = F.interpolate(image, size=grid, mode="nearest")
    else:
        image = F.interpolate(image, size=grid, mode="bicubic", align_corners=False, antialias=False)
    return image.flatten(2).transpose(1, 2)


def resize_time(table_1TD: Tensor, frames: int, how: PositionResize) -> Tensor:
    """The table for another number of frames: (1, frames, D); linear where space is bicubic."""
    if frames == table_1TD.shape[1]:
        return table_1TD
    line = table_1TD.transpose(1, 2)
    if how != "bicubic":
        line = F.interpolate(line, size=frames, mode="nearest")
    else:
        line = F.interpolate(line, size=frames, mode="linear", align_corners=False)
    return line.transpose(1, 2)
