"""What a frozen network makes of the videos of a split: features, computed by an engine while workers decode ahead.

Dimensions: N clips, M tokens, D channels, V views, B videos, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from timesformer.config import Data
from timesformer.data.dataset import SkippedVideos, TestingViews
from timesformer.data.loader import testing_loader
from timesformer.engine.engine import Engine
from timesformer.errors import VideoError
from timesformer.evaluation.evaluate import OnProgress, Progress, ignore
from timesformer.evaluation.scores import mean_scores, run_batches


@dataclass(frozen=True, eq=False)
class Features:
    """What a frozen network makes of N clips: the test views of a split's videos that could be read, in their order.

    Attributes:
        features: what the head sees, float32 (N, D).
        labels_N: the class of each clip.
        videos_N: the row of its video in the manifest.
        tokens: all tokens, bfloat16 (N, M, D), where they were asked for.
        skipped: the videos that could not be read.
    """

    features: Tensor
    labels_N: Tensor
    videos_N: Tensor
    tokens: Tensor | None = None
    skipped: tuple[VideoError, ...] = ()

    def __len__(self) -> int:
        return len(self.labels_N)

    def clips(self, chosen_N: Tensor) -> Features:
        """Those of some clips, by their numbers or a mask."""
        return Features(
            self.features[chosen_N],
            self.labels_N[chosen_N],
            self.videos_N[chosen_N],
            None if self.tokens is None else self.tokens[chosen_N],
            self.skipped,
        )

    def of_videos(self, values_N: Tensor) -> Tensor:
        """One value a video, from those of its clips, which all have the same: (B,)."""
        counts_B = self._counts()
        return values_N[counts_B.cumsum(0) - counts_B]

    def scores(self, logits_NK: Tensor) -> Tensor:
        """Scores of the videos, as `evaluate` has them: the mean softmax of the clips of each, (B, K)."""
        return mean_scores(logits_NK, self._counts())

    def _counts(self) -> Tensor:
        _, counts_B = torch.unique_consecutive(self.videos_N, return_counts=True)
        assert isinstance(counts_B, Tensor)
        return counts_B


def extract(
    views: TestingViews,
    engine: Engine,
    data: Data,
    *,
    tokens: bool = False,
    skipped: SkippedVideos | None = None,
    on_progress: OnProgress = ignore,
) -> Features:
    """Features of all test views of the videos of a manifest.

    data: how videos are read. tokens: whether all tokens are kept as well. skipped: what counts the videos that cannot
    be read, where they count with those of another manifest. on_progress: called when the first video is read, and
    after each one.

    Raises DataError where too many videos cannot be read, and WorkerError as `evaluate` does.
    """
    skipped = skipped or SkippedVideos(views.manifest, data.max_bad_fraction)
    total, token = len(views), engine.feature_token
    features: list[Tensor] = []
    all_tokens: list[Tensor] = []
    labels: list[Tensor] = []
    videos: list[Tensor] = []
    done = 0

    def network(clips_VCTSS: Tensor) -> Tensor:
        """Features, or tokens; where no token is what the head sees, the features before the tokens."""
        if not tokens:
            return engine.features(clips_VCTSS)
        tokens_VMD = engine.features(clips_VCTSS, tokens=True)
        seen_VD = tokens_VMD[:, token] if token is not None else engine.features(clips_VCTSS)
        return torch.cat([seen_VD.unsqueeze(1), tokens_VMD], 1)

    loader = testing_loader(views, 1, data)
    on_progress(Progress(engine, done, total, []))
    try:
        for batch, rows in run_batches(network, loader, engine.views):
            new = skipped.add(batch.problems)
            features += [row[0].clone() for row in rows] if tokens else rows  # a part would keep the whole
            all_tokens += [row[1:].to(torch.bfloat16) for row in rows] if tokens else []
            labels.append(batch.labels_B.repeat_interleave(batch.counts_B, 0))
            videos.append(batch.rows_B.repeat_interleave(batch.counts_B))
            done += len(batch.rows_B) + len(batch.problems)
            on_progress(Progress(engine, done, total, new))
    finally:
        loader.close()
    return Features(
        torch.stack(features),
        torch.cat(labels),
        torch.cat(videos),
        torch.stack(all_tokens) if tokens else None,
        tuple(VideoError(path, reason) for path, reason in skipped.reasons.items()),
    )
