"""Views with some of their cells hidden, and what an engine still says of them.

Dimensions: V views, P masks, C 3 colours, T frames, S pixels, U time cells, R and Q rows and columns of cells,
K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from timesformer.engine.engine import Engine


def hide(view_CTSS: Tensor, hidden_PURQ: Tensor) -> Tensor:
    """The view once a mask, uint8 (P, 3, T, S, S), with the hidden cells in its own mean colour."""
    _, frames, height, width = view_CTSS.shape
    _, times, rows, columns = hidden_PURQ.shape
    mask = hidden_PURQ.repeat_interleave(frames // times, 1)
    mask = mask.repeat_interleave(height // rows, 2).repeat_interleave(width // columns, 3)
    colour_C111 = view_CTSS.float().mean((1, 2, 3), keepdim=True).round().to(torch.uint8)
    return torch.where(mask[:, None], colour_C111, view_CTSS)


def log_scores(engine: Engine, clips_PCTSS: Tensor, number: int) -> Tensor:
    """The log of the score of class `number` for each of some views, (P,), `engine.views` of them at a time."""
    parts = [engine(part).float().cpu() for part in clips_PCTSS.split(engine.views)]
    logits_PK = torch.cat(parts)
    return (F.logsigmoid(logits_PK) if engine.multilabel else logits_PK.log_softmax(1))[:, number]
