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
head, R and C windows along rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.config import Scheme
from timesformer.model.attention import Attention, attend

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

    Windows depend on the place alone, so all frames of a place share one; places near a border share one too.
    Each pair of row band and column band is one unmasked attention call: nine calls, no wasted products.
    """
    frames = x_BTND.shape[1]
    q_BhNK, k_BhNK, v_BhNK = attention.project(torch.cat([cls_B1D, x_BTND.flatten(1, 2)], dim=1))
    cls_out = attend(q_BhNK[:, :, :1], k_BhNK, v_BhNK)
    q, k, v = (part[:, :, 1:].unflatten(2, (frames, *grid)) for part in (q_BhNK, k_BhNK, v_BhNK))
    cls_k, cls_v = k_BhNK[:, :, :1], v_BhNK[:, :, :1]
    rows = []
    for row in window_bands(grid[0]):
        columns = [_band(q, k, v, cls_k, cls_v, row, column) for column in window_bands(grid[1])]
        rows.append(torch.cat(columns, dim=4))
    out_BhNK = torch.cat(rows, dim=3).flatten(2, 4)
    out = after(attention.join(torch.cat([cls_out, out_BhNK], dim=2)))
    return _apart(out, x_BTND)


def _apart(out: Tensor, x_BTND: Tensor) -> tuple[Tensor, Tensor]:
    """Joined tokens as patches, in the shape of x, and class token."""
    cls_B1D, patches = out.tensor_split([1], dim=1)
    return patches.unflatten(1, x_BTND.shape[1:3]), cls_B1D


class Band(NamedTuple):
    """Neighbouring places along one axis: `windows` windows, one place further each, with `queries` places each.

    first         the first place
    queries       places that share a window
    window_start  the first place of the first window
    windows       number of windows; only one of `queries` and `windows` is above 1
    window        places of a window
    """

    first: int
    queries: int
    window_start: int
    windows: int
    window: int


def window_bands(length: int) -> list[Band]:
    """The bands of an axis of `length` places with windows of half that length.

    The window of place i begins at min(max(i - window // 2, 0), length - window). For 14 places, window 7:

        places  0 1 2 3 | 4 5 6 7 8 9 | 10 11 12 13
        start   0 0 0 0 | 1 2 3 4 5 6 |  7  7  7  7
    """
    window = max(1, length // 2)
    half, last = window // 2, length - window
    if last == 0:
        return [Band(0, length, 0, 1, window)]
    first = Band(0, half + 1, 0, 1, window)
    sliding = Band(half + 1, 1, 1, last - 1, window)
    final = Band(half + last, window - half, last, 1, window)
    return [band for band in (first, sliding, final) if band.windows]


def _band(q: Tensor, k: Tensor, v: Tensor, cls_k: Tensor, cls_v: Tensor, row: Band, column: Band) -> Tensor:
    """Attention of the queries of one pair of bands: (B, h, T, rows, columns, K)."""
    batch, heads, frames = q.shape[:3]
    windows = (row.windows, column.windows)
    q = q.narrow(3, row.first, row.windows * row.queries).narrow(4, column.first, column.windows * column.queries)
    q = q.unflatten(4, (column.windows, column.queries)).unflatten(3, (row.windows, row.queries))
    q = q.permute(0, 3, 5, 1, 2, 4, 6, 7).reshape(batch * windows[0] * windows[1], heads, -1, q.shape[-1])

    def keys(x: Tensor, cls: Tensor) -> Tensor:
        x = x.narrow(3, row.window_start, row.windows + row.window - 1)
        x = x.narrow(4, column.window_start, column.windows + column.window - 1)
        x = x.unfold(3, row.window, 1).unfold(4, column.window, 1)
        x = x.permute(0, 3, 4, 1, 2, 6, 7, 5).flatten(4, 6)
        cls = cls[:, None, None].expand(batch, *windows, heads, 1, x.shape[-1])
        return torch.cat([cls, x], dim=4).flatten(0, 2)

    out = attend(q, keys(k, cls_k), keys(v, cls_v))
    out = out.unflatten(2, (frames, row.queries, column.queries)).unflatten(0, (batch, *windows))
    placed: Tensor = out.permute(0, 3, 4, 1, 5, 2, 6, 7).flatten(5, 6).flatten(3, 4)
    return placed


STEPS: dict[str, StepFunction] = {
    "space": space,
    "time": time,
    "joint": joint,
    "local": local,
    "global": global_,
    "width": width,
    "height": height,
}
