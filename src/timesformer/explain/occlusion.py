"""Occlusion (Zeiler and Fergus, 2014): what a class loses where a part of a view is hidden. It asks nothing of a model
but its scores, so any architecture can be explained, at the price of a forward pass for each part.

Dimensions: V views, C 3 colours, T frames, S pixels, U time cells, R and Q rows and columns of cells.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from timesformer.config import ModelSettings
from timesformer.engine.engine import Engine
from timesformer.explain.masks import hide, log_scores

FINEST = 8  # rows and columns of parts, at most


def parts_of(settings: ModelSettings) -> tuple[int, int, int]:
    """The parts of a clip: its frames (or tubelets), and as many rows and columns, at most 8, as divide its patches."""
    side = settings.image_size // settings.clip_unit
    finest = max(number for number in range(1, FINEST + 1) if side % number == 0)
    return settings.num_frames // settings.frame_unit, finest, finest


def occlusion(
    engine: Engine,
    clips_VCTSS: Tensor,
    number: int,
    parts: tuple[int, int, int],
    on_run: Callable[[int], None] = lambda views: None,
) -> Tensor:
    """How much the log of the score of class `number` falls where a part is hidden, of each view: (V, U, R, Q).

    Below zero where hiding it helps the class. on_run: is told how many views were run.
    """
    count = parts[0] * parts[1] * parts[2]
    one_PURQ = torch.eye(count, dtype=torch.bool).view(count, *parts)
    found = []
    for view_CTSS in clips_VCTSS:
        whole = log_scores(engine, view_CTSS[None], number)
        falls = []
        for masks_PURQ in one_PURQ.split(engine.views):
            falls.append(whole - log_scores(engine, hide(view_CTSS, masks_PURQ), number))
            on_run(len(masks_PURQ))
        found.append(torch.cat(falls).view(parts))
    return torch.stack(found)
