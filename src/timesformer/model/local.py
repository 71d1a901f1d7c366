"""The local step of sparse local-global attention (paper, section 3): windows of half a frame, tile by tile.

The paper leaves the borders open: here a window that would leave the frame is moved back inside, so that every query
has the same number of keys.

Dimensions: B batch, T frames, N = H x W patches of a frame, D channels, h heads, K channels of a head, R and C rows and
columns of a tile, J and L of its keys, Q all its queries, M all its keys.
"""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.model.attention import StepAttention
from timesformer.model.tokens import Grid, Keys, join_tokens, number_patches, split_tokens


def local(attention: StepAttention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Attention to the window of max(1, H // 2) x max(1, W // 2) patches around each place, over all frames.

    Places are taken tile by tile: a tile's keys are those of all its windows, copied once for all of its places, and a
    mask hides from each place what is outside its own window.
    """
    frames = x_BTND.shape[1]
    q_BhNK, k_BhNK, v_BhNK = attention.project(join_tokens(x_BTND, cls_B1D))
    cls_out = attention.attend(q_BhNK[:, :, :1], k_BhNK, v_BhNK)
    q, k, v = (part[:, :, 1:].unflatten(2, (frames, *grid)) for part in (q_BhNK, k_BhNK, v_BhNK))
    rows = []
    for row in window_tiles(grid[0]):
        columns = []
        for column in window_tiles(grid[1]):
            query = _cut(q, row.places, column.places)
            keys = torch.cat([k_BhNK[:, :, :1], _cut(k, row.keys, column.keys).flatten(2, 4)], dim=2)
            values = torch.cat([v_BhNK[:, :, :1], _cut(v, row.keys, column.keys).flatten(2, 4)], dim=2)
            mask = _mask(frames, grid, row, column, q.dtype, q.device)
            columns.append(attention.attend(query.flatten(2, 4), keys, values, mask).view(query.shape))
        rows.append(torch.cat(columns, dim=4))
    out_BhNK = torch.cat(rows, dim=3).flatten(2, 4)
    return split_tokens(attention.join(torch.cat([cls_out, out_BhNK], dim=2)), x_BTND.shape[1])


def local_keys(frames: int, grid: Grid) -> Keys:
    """The class token and a place's window in every frame; the class token attends to the whole clip."""
    numbers_THW = number_patches(frames, grid)
    windows = [
        numbers_THW[:, rows.start : rows.stop, columns.start : columns.stop].flatten()
        for rows in (window(row, grid[0]) for row in range(grid[0]))
        for columns in (window(column, grid[1]) for column in range(grid[1]))
    ]
    patches_NM = torch.nn.functional.pad(torch.stack(windows), (1, 0))
    return Keys(patches_NM.repeat(frames, 1), torch.arange(1 + numbers_THW.numel())[None])


class Tile(NamedTuple):
    """Neighbouring places along one axis, and the places that their windows cover."""

    places: range
    keys: range


def window(place: int, length: int) -> range:
    """The window of a place on an axis of `length` places: half as long, around it, moved inside at the borders."""
    size = max(1, length // 2)
    first = min(max(place - size // 2, 0), length - size)
    return range(first, first + size)


def window_tiles(length: int) -> list[Tile]:
    """The tiles of an axis: places at a border that share a window, the others by up to a third of a window.

    So the keys of a tile are at most a third more than those of one window. For 14 places, windows of 7:

        places  0 1 2 3 | 4 5 | 6 7 | 8 9 | 10 11 12 13
        keys    0 to 6  | 1-8 | 3-10| 5-12|   7 to 13
    """
    places = range(length)
    groups = [list(group) for _, group in groupby(places, lambda place: window(place, length))]
    (first, *sliding), last = groups[:-1] or [[]], groups[-1]
    between = [place for group in sliding for place in group]
    size = max(1, length // 2 // 3)
    parts = [first, *(between[start : start + size] for start in range(0, len(between), size)), last]
    return [
        Tile(range(part[0], part[-1] + 1), range(window(part[0], length).start, window(part[-1], length).stop))
        for part in parts
        if part
    ]


def _cut(x: Tensor, rows: range, columns: range) -> Tensor:
    """Places of a tensor (B, h, T, H, W, K)."""
    return x[:, :, :, rows.start : rows.stop, columns.start : columns.stop]


def _mask(frames: int, grid: Grid, row: Tile, column: Tile, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """What to add to the scores of a tile, (T x places, 1 + T x keys): minus infinity outside of a place's window."""
    tiles = ((row, grid[0]), (column, grid[1]))
    if all(len(tile.keys) == len(window(0, length)) for tile, length in tiles):
        return None
    rows_RJ, columns_CL = (_seen(tile, length, device) for tile, length in tiles)
    seen_RCJL = rows_RJ[:, None, :, None] & columns_CL[None, :, None, :]
    hidden_QM = ~seen_RCJL.flatten(2).flatten(0, 1).repeat(frames, frames)
    mask_QM = torch.zeros(len(hidden_QM), 1 + hidden_QM.shape[1], dtype=dtype, device=device)
    mask_QM[:, 1:].masked_fill_(hidden_QM, -torch.inf)
    return mask_QM


def _seen(tile: Tile, length: int, device: torch.device) -> Tensor:
    """Which keys of a tile are in the window of each of its places; made where it is needed, without a transfer."""
    places = torch.arange(tile.places.start, tile.places.stop, device=device)[:, None]
    keys = torch.arange(tile.keys.start, tile.keys.stop, device=device)
    size = len(window(0, length))
    first = (places - size // 2).clamp(0, length - size)
    return (keys >= first) & (keys < first + size)
