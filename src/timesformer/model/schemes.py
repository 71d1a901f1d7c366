"""The five space-time attention schemes (paper, section 3 and figure 2) as tuples of steps.

A step is one attention: it takes normalised tokens and returns what they gain. Patches stay x_BTND, the class
token stays apart as cls_B1D; they are joined only inside a step.

    step      a patch attends to                                  the class token
    space     its own frame                                       is copied to every frame, copies averaged
    time      its own place in every frame                        stays out (a key on request, paper's Eq. 11)
    joint     the whole clip                                      is one token more
    local     the H/2 x W/2 window around it, in every frame      is a key of every window, attends to the clip
    global    every second frame, row and column of the clip      is a key, attends to the same tokens
    width     its own row of its own frame                        is copied to every row, copies averaged
    height    its own column of its own frame                     is copied to every column, copies averaged

The paper leaves the borders of `local` open: here a window that would leave the frame is moved back inside, so
that every query has the same number of keys.

Dimensions: B batch, T frames, N = H x W patches of a frame, D channels; in `local` also h heads, K channels of a
head, R and C rows and columns of a tile, J and L of its keys, Q all its queries, M all its keys.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.config import Scheme
from timesformer.model.attention import Attention

Grid = tuple[int, int]


class After(NamedTuple):
    """What follows an attention: stochastic depth, and the linear layer at the end of all steps but a scheme's last."""

    drop: Callable[[Tensor], Tensor]
    last: Callable[[Tensor], Tensor]

    def __call__(self, out: Tensor) -> Tensor:
        """Both; on tokens as the attention leaves them, which are contiguous."""
        return self.last(self.drop(out))


def unchanged(x: Tensor) -> Tensor:
    """x, where nothing follows."""
    return x


StepFunction = Callable[[Attention, Tensor, Tensor, Grid, After], tuple[Tensor, Tensor | None]]

SCHEMES: dict[Scheme, tuple[str, ...]] = {
    "space_only": ("space",),
    "joint_space_time": ("joint",),
    "divided_space_time": ("time", "space"),
    "sparse_local_global": ("local", "global"),
    "axial": ("time", "width", "height"),
}


def space(attention: Attention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid, after: After) -> tuple[Tensor, Tensor]:
    """Attention inside each frame."""
    return _lines(attention, x_BTND, cls_B1D, after)


def width(attention: Attention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid, after: After) -> tuple[Tensor, Tensor]:
    """Attention inside each row of each frame."""
    rows_BLWD = x_BTND.unflatten(2, grid).flatten(1, 2)
    dx_BLWD, dcls_B1D = _lines(attention, rows_BLWD, cls_B1D, after)
    return dx_BLWD.reshape(x_BTND.shape), dcls_B1D


def height(attention: Attention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid, after: After) -> tuple[Tensor, Tensor]:
    """Attention inside each column of each frame."""
    columns_BLHD = x_BTND.unflatten(2, grid).transpose(2, 3).flatten(1, 2)
    dx_BLHD, dcls_B1D = _lines(attention, columns_BLHD, cls_B1D, after)
    dx_BTWHD = dx_BLHD.unflatten(1, (x_BTND.shape[1], grid[1]))
    return dx_BTWHD.transpose(2, 3).reshape(x_BTND.shape), dcls_B1D


def _lines(attention: Attention, x_BLND: Tensor, cls_B1D: Tensor, after: After) -> tuple[Tensor, Tensor]:
    """Attention inside each of L sets of N patches; the class token is copied to each, its copies averaged."""
    batch, lines = x_BLND.shape[:2]
    copies = cls_B1D.expand(-1, lines, -1).unsqueeze(2)
    out = after.drop(attention(torch.cat([copies, x_BLND], dim=2).flatten(0, 1))).unflatten(0, (batch, lines))
    classes_BL1D, patches_BLND = out.tensor_split(
        [1], dim=2
    )  # not two slices, whose gradients would be padded and added
    return after.last(patches_BLND), after.last(classes_BL1D.mean(1))


def time(attention: Attention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid, after: After) -> tuple[Tensor, None]:
    """Attention along time at each place; the class token takes no part, as in the released code."""
    out = after(attention(x_BTND.transpose(1, 2).flatten(0, 1)))
    return out.unflatten(0, (x_BTND.shape[0], -1)).transpose(1, 2), None


def time_with_class(
    attention: Attention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid, after: After
) -> tuple[Tensor, None]:
    """Attention along time at each place with the class token as one more key (Eq. 11)."""
    places = x_BTND.shape[2]
    x_LTD = x_BTND.transpose(1, 2).flatten(0, 1)
    context = torch.cat([cls_B1D.repeat_interleave(places, 0), x_LTD], dim=1)
    out = after(attention(x_LTD, context))
    return out.unflatten(0, (-1, places)).transpose(1, 2), None


def joint(attention: Attention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid, after: After) -> tuple[Tensor, Tensor]:
    """Attention over the whole clip (Eq. 5)."""
    out = after(attention(torch.cat([cls_B1D, x_BTND.flatten(1, 2)], dim=1)))
    return _apart(out, x_BTND)


def global_(attention: Attention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid, after: After) -> tuple[Tensor, Tensor]:
    """Attention to every second frame, row and column; keys and values are made for those tokens only."""
    batch, _, _, channels = x_BTND.shape
    tokens = torch.cat([cls_B1D, x_BTND.flatten(1, 2)], dim=1)
    strided = x_BTND.unflatten(2, grid)[:, ::2, ::2, ::2].reshape(batch, -1, channels)
    out = after(attention(tokens, torch.cat([cls_B1D, strided], dim=1)))
    return _apart(out, x_BTND)


def local(attention: Attention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid, after: After) -> tuple[Tensor, Tensor]:
    """Attention to the window of max(1, H // 2) x max(1, W // 2) patches around each place, over all frames.

    Places are taken tile by tile: a tile's keys are those of all its windows, copied once for all of its places, and a
    mask hides from each place what is outside its own window.
    """
    frames = x_BTND.shape[1]
    q_BhNK, k_BhNK, v_BhNK = attention.project(torch.cat([cls_B1D, x_BTND.flatten(1, 2)], dim=1))
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
    out = after(attention.join(torch.cat([cls_out, out_BhNK], dim=2)))
    return _apart(out, x_BTND)


def _apart(out: Tensor, x_BTND: Tensor) -> tuple[Tensor, Tensor]:
    """Joined tokens as patches, in the shape of x, and class token."""
    cls_B1D, patches = out.tensor_split([1], dim=1)
    return patches.unflatten(1, x_BTND.shape[1:3]), cls_B1D


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


STEPS: dict[str, StepFunction] = {
    "space": space,
    "time": time,
    "joint": joint,
    "local": local,
    "global": global_,
    "width": width,
    "height": height,
}
