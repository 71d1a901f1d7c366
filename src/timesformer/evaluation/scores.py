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
from timesformer.engine.engine import Engine, check_bytes
from timesformer.errors import WorkerError
from timesformer.model.protocol import VideoModel
from timesformer.video.transforms import normalise

VIEWS_AT_ONCE = 8

# uint8 clips (B, 3, T, S, S) to logits (B, K): an engine, or `plain_network`; or to features (B, ...).
Network = Callable[[Tensor], Tensor]


def plain_network(model: VideoModel, preprocessing: Preprocessing) -> Network:
    """A model as it is, on the device it is on: for the validation of one that is being trained."""

    def network(clips_BCTSS: Tensor) -> Tensor:
        device = next(model.parameters()).device
        logits: Tensor = model(normalise(clips_BCTSS.to(device), preprocessing))
        return logits

    return network


def score_views(engine: Engine, views_VCTSS: Tensor) -> Tensor:
    """Scores of one video from its views: (K,), float32 on the CPU; they sum to 1, unless a video may have several
    classes.

    views_VCTSS: uint8 (V, 3, T, S, S), at least one, such as `timesformer.read_views` gives; the engine gets
    `engine.views` of them at a time. Raises SettingError for views of another shape or type.
    """
    check_bytes(views_VCTSS, 1)
    queue = ViewQueue(engine, engine.views)
    queue.put(views_VCTSS)
    queue.finish()
    logits_VK = torch.stack(list(queue.logits))
    return mean_scores(logits_VK, torch.tensor([len(logits_VK)]), multilabel=engine.multilabel)[0]


def score_batches(
    network: Network, batches: Iterable[Batch], *, multilabel: bool = False, views: int = VIEWS_AT_ONCE
) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch with the scores (B, K) of its videos, in float32 on the CPU; rows sum to 1, unless `multilabel`.

    The network gets its views as `run_batches` says.
    """
    for batch, rows in run_batches(network, batches, views):
        logits_VK = torch.stack(rows) if rows else torch.empty(0, 0)
        yield batch, mean_scores(logits_VK, batch.counts_B, multilabel=multilabel)


def run_batches(
    network: Network, batches: Iterable[Batch], views: int = VIEWS_AT_ONCE
) -> Iterator[tuple[Batch, list[Tensor]]]:
    """Each batch with what a network makes of each of its views, in float32 on the CPU.

    The network gets `views` views at a time, of as many videos as they belong to, and fewer only at the end, or before
    a WorkerError of the batches is raised.
    """
    queue = ViewQueue(network, views)
    waiting: deque[Batch] = deque()

    def finished() -> Iterator[tuple[Batch, list[Tensor]]]:
        while waiting and len(queue.logits) >= len(waiting[0].views_VCTSS):
            batch = waiting.popleft()
            yield batch, [queue.logits.popleft() for _ in range(len(batch.views_VCTSS))]

    stopped = None
    try:
        for batch in batches:
            waiting.append(batch)
            queue.put(batch.views_VCTSS)
            while queue.full:
                queue.run()
                yield from finished()
            yield from finished()
    except WorkerError as error:  # a job that is resumed goes on after what has been read
        stopped = error
    queue.finish()
    yield from finished()
    if stopped:
        raise stopped


class ViewQueue:
    """Views on their way through a network, `at_once` at a time; `logits` are those known so far, in order."""

    def __init__(self, network: Network, at_once: int) -> None:
        self.network, self.at_once = network, at_once
        self.logits: deque[Tensor] = deque()
        self._views: deque[Tensor] = deque()
        self._running: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    @property
    def full(self) -> bool:
        """Whether enough views wait for a run."""
        return len(self._views) >= self.at_once

    def put(self, views_VCTSS: Tensor) -> None:
        """Add views at the end of the queue."""
        self._views.extend(views_VCTSS)

    def run(self) -> None:
        """Run the network on the next views. A GPU computes while the next ones are gathered and sent to it; its result
        is waited for one call later."""
        views_VCTSS = torch.stack([self._views.popleft() for _ in range(min(self.at_once, len(self._views)))])
        with torch.inference_mode():
            logits_VK = self.network(views_VCTSS).float()
            self._running.append((logits_VK.to("cpu", non_blocking=logits_VK.is_cuda), _event(logits_VK.device)))
        self._collect(1 if logits_VK.is_cuda else 0)

    def finish(self) -> None:
        """Run the network on all views that are left, and wait for their logits."""
        while self._views:
            self.run()
        self._collect(0)

    def _collect(self, running: int) -> None:
        while len(self._running) > running:
            logits_VK, event = self._running.popleft()
            if event is not None:
                event.synchronize()
            self.logits.extend(logits_VK)


def _event(device: torch.device) -> torch.cuda.Event | None:
    """An event that a GPU reaches when it has done all it was given so far; None for other devices."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


def mean_scores(logits_VK: Tensor, counts_B: Tensor, *, multilabel: bool = False) -> Tensor:
    """Mean softmax, or sigmoid, of each video's views: (B, K)."""
    scores_VK = to_scores(logits_VK, multilabel=multilabel)
    if not len(counts_B):
        return scores_VK
    return torch.segment_reduce(scores_VK, "mean", lengths=counts_B)


def to_scores(logits_VK: Tensor, *, multilabel: bool) -> Tensor:
    """The softmax of each view, or the sigmoid."""
    return logits_VK.sigmoid() if multilabel else logits_VK.softmax(1)
