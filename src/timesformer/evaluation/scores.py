"""Views of videos become one row of scores a video: the mean over its views of the softmax (paper, section 4), or, for
classes that do not exclude each other, of the sigmoid.

Dimensions: V views of all videos, C 3 colours, T frames, S pixels, B videos, K classes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from timesformer.config import Preprocessing
from timesformer.data.dataset import Batch
from timesformer.model.timesformer import TimeSformer
from timesformer.video.transforms import normalise

VIEWS_AT_ONCE = 8

Network = Callable[[Tensor], Tensor]  # uint8 clips (B, 3, T, S, S) to logits (B, K): an engine, or `plain_network`


def plain_network(model: TimeSformer, preprocessing: Preprocessing) -> Network:
    """A model as it is, on the device it is on."""

    def network(clips_BCTSS: Tensor) -> Tensor:
        device = next(model.parameters()).device
        logits: Tensor = model(normalise(clips_BCTSS.to(device), preprocessing))
        return logits

    return network


def score_batches(
    network: Network, batches: Iterable[Batch], *, multilabel: bool = False, views: int = VIEWS_AT_ONCE
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch with the scores (B, K) of its videos, in float32 on the CPU; rows sum to 1, but for multilabel.

    The network gets `views` views at a time, of as many videos as they belong to, and fewer only at the end.
    """
    waiting: deque[Batch] = deque()
    unseen: deque[Tensor] = deque()
    running: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()
    logits: deque[Tensor] = deque()

    def look() -> None:
        part_VCTSS = torch.stack([unseen.popleft() for _ in range(min(views, len(unseen)))])
        with torch.inference_mode():
            logits_VK = network(part_VCTSS).float()
            # A GPU computes while the next views are gathered and sent to it; its result is waited for one call later.
            running.append((logits_VK.to("cpu", non_blocking=logits_VK.is_cuda), _done(logits_VK.device)))
        collect(1 if logits_VK.is_cuda else 0)

    def collect(left: int) -> None:
        while len(running) > left:
            logits_VK, event = running.popleft()
            if event is not None:
                event.synchronize()
            logits.extend(logits_VK)

    def done() -> Iterator[tuple[Batch, Tensor]]:
        while waiting and len(logits) >= len(waiting[0].views_VCTSS):
            batch = waiting.popleft()
            rows = [logits.popleft() for _ in range(len(batch.views_VCTSS))]
            logits_VK = torch.stack(rows) if rows else torch.empty(0, 0)
            yield batch, mean_scores(logits_VK, batch.counts_B, multilabel=multilabel)

    for batch in batches:
        waiting.append(batch)
        unseen.extend(batch.views_VCTSS)
        while len(unseen) >= views:
            look()
            yield from done()
        yield from done()
    while unseen:
        look()
    collect(0)
    yield from done()


def _done(device: torch.device) -> torch.cuda.Event | None:
    """What tells when a GPU has done all that it was given up to now; None elsewhere."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


def mean_scores(logits_VK: Tensor, counts_B: Tensor, *, multilabel: bool = False) -> Tensor:
    """Mean softmax, or sigmoid, of each video's views: (B, K)."""
    scores_VK = logits_VK.sigmoid() if multilabel else logits_VK.softmax(1)
    if not len(counts_B):
        return scores_VK
    return torch.stack([part.mean(0) for part in scores_VK.split(counts_B.tolist())])
