"""A clip becomes tokens: patches, class token, position tables (paper, Eq. 1).

With tubelets a patch is of several neighbouring frames, which then count as one, the colours of each frame as more
colours of it.

Dimensions: B batch, C 3 colours, T frames, H and W rows and columns (of pixels, then of patches),
N = H x W patches of a frame, D channels of a token.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.config import PositionResize, TimeSformerSettings


class Embedding(nn.Module):
    """Patch projection, class token and position tables.

    The learned space table has one row for the class token before those of the patches; the learned time table has
    one row a frame and is shared by all patches of it. The fixed table (T, N, D) has a row a patch.
    """

    fixed_table: Tensor | None

    def __init__(self, settings: TimeSformerSettings) -> None:
        super().__init__()
        width = settings.dimensions.width
        self.patch_size, self.tubelet = settings.patch_size, settings.tubelet
        self.resize = settings.position_resize
        self.grid = settings.image_size // settings.patch_size
        frames = settings.num_frames // settings.tubelet
        self.projection = nn.Conv2d(3 * settings.tubelet, width, settings.patch_size, settings.patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width)) if settings.class_token else None
        self.space_table: nn.Parameter | None = None
        self.time_table: nn.Parameter | None = None
        if settings.position in ("space", "space_time"):
            self.space_table = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        if settings.position == "space_time" and settings.scheme != "space_only":
            self.time_table = nn.Parameter(torch.zeros(1, frames, width))
        self.register_buffer("fixed_table", None)
        if settings.position == "sinusoidal":
            self.fixed_table = sinusoids(frames * self.grid**2, width).unflatten(0, (frames, -1))
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, clips_BCTHW: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Patch tokens x_BTND, class token cls_B1D and the grid (H, W) of patches of a frame."""
        batch, frames = clips_BCTHW.shape[0], clips_BCTHW.shape[2] // self.tubelet
        tubelets = clips_BCTHW.unflatten(2, (frames, self.tubelet)).transpose(1, 2)
        patches = self.projection(tubelets.flatten(0, 1).flatten(1, 2))
        grid = (patches.shape[-2], patches.shape[-1])
        x_BTND = patches.flatten(2).transpose(1, 2).unflatten(0, (batch, frames))
        if self.class_token is None:
            cls_B1D = x_BTND.new_empty(batch, 0, x_BTND.shape[-1])
        else:
            cls_B1D = self.class_token.expand(batch, -1, -1)
        if self.space_table is not None:
            cls_B1D = cls_B1D + self.space_table[:, :1]
            x_BTND = x_BTND + resize_space(self.space_table[:, 1:], self.grid, grid, self.resize).unsqueeze(1)
        if self.time_table is not None:
            x_BTND = x_BTND + resize_time(self.time_table, frames, self.resize).unsqueeze(2)
        if self.fixed_table is not None:
            x_BTND = x_BTND + resize_fixed(self.fixed_table, self.grid, frames, grid, self.resize)
        return self.dropout(x_BTND), self.dropout(cls_B1D), grid


def is_known(numbers: tuple[int, ...]) -> bool:
    """Whether numbers are such; in a graph that leaves frames or size open they are symbols, equal to none."""
    return all(type(number) is int for number in numbers)


def resize_space(table_1ND: Tensor, side: int, grid: tuple[int, int], how: PositionResize) -> Tensor:
    """The square table of side x side patches for a grid of (H, W) patches: (1, H x W, D).

    "bicubic"; "nearest" as the released code's forward pass does; "nearest_flat" as its weight loader does, along the
    flattened table, which mixes up rows.
    """
    if is_known(grid) and grid == (side, side):
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
    if is_known((frames,)) and frames == table_1TD.shape[1]:
        return table_1TD
    line = table_1TD.transpose(1, 2)
    if how != "bicubic":
        line = F.interpolate(line, size=frames, mode="nearest")
    else:
        line = F.interpolate(line, size=frames, mode="linear", align_corners=False)
    return line.transpose(1, 2)


def resize_fixed(table_TND: Tensor, side: int, frames: int, grid: tuple[int, int], how: PositionResize) -> Tensor:
    """The table of side x side patches in each frame for other frames and another grid: (frames, H x W, D)."""
    space_TND = resize_space(table_TND, side, grid, how)
    return resize_time(space_TND.transpose(0, 1), frames, how).transpose(0, 1)


def sinusoids(places: int, channels: int) -> Tensor:
    """Sines and cosines in turn, of ever longer waves over the number of a place: (places, channels) ("Attention Is All
    You Need", Vaswani et al., 2017, section 3.5)."""
    channel = torch.arange(channels, dtype=torch.float64)
    angle = torch.arange(places, dtype=torch.float64)[:, None] / 10000 ** (2 * (channel // 2) / channels)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos()).float()
