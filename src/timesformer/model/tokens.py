"""The tokens of a clip: how they are joined, how they are numbered, and which of them a query attends to.

Inside a block patches are x_BTND and the class token is cls_B1D. Joined, the class token comes first, then the patches
of frame after frame, row by row: token 0 is the class token, 1 + t N + n is patch n of frame t. A model without a class
token has an empty one, (B, 0, D).

Dimensions: B batch, T frames (of a model with tubelets, tubelets), N = H x W patches of a frame, D channels, Q = T N
queries, M keys, L sets of keys.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Grid = tuple[int, int]  # rows and columns of patches of a frame


class Keys(NamedTuple):
    """Which tokens, by their numbers, a step's queries attend to.

    patches_QM: the keys of each patch. cls_LM: the keys of the class token, in L sets that it attends to one by one and
    whose results are averaged (copies of it in every frame, say); None where it takes no part.
    """

    patches_QM: Tensor
    cls_LM: Tensor | None


def join_tokens(x_BTND: Tensor, cls_B1D: Tensor) -> Tensor:
    """Class token and patches in one row: (B, 1 + T N, D)."""
    patches_BQD = x_BTND.flatten(1, 2)
    return torch.cat([cls_B1D, patches_BQD], dim=1) if cls_B1D.shape[1] else patches_BQD


def split_tokens(tokens_BMD: Tensor, frames: int, class_tokens: int = 1) -> tuple[Tensor, Tensor]:
    """Joined tokens as patches x_BTND and class token cls_B1D, of which there are `class_tokens`, 1 or 0."""
    # Not two slices: gradients would be padded and added.
    cls_B1D, patches_BQD = tokens_BMD.tensor_split([class_tokens], dim=1)
    return patches_BQD.unflatten(1, (frames, -1)), cls_B1D


def number_patches(frames: int, grid: Grid) -> Tensor:
    """The numbers of all patches, (T, H, W)."""
    return torch.arange(1, 1 + frames * grid[0] * grid[1]).view(frames, *grid)
