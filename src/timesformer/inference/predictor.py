"""Classify videos."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from timesformer.config import Data, ModelSettings, Preprocessing
from timesformer.data.dataset import Batch, UnlabelledViews
from timesformer.data.loader import testing_loader, testing_workers
from timesformer.engine.engine import Engine
from timesformer.errors import SettingError, VideoError
from timesformer.evaluation.scores import score_batches, score_views
from timesformer.inference.sources import Sources, list_sources
from timesformer.inference.timeline import TimelineOptions, WindowRow, timeline_rows
from timesformer.settings import make
from timesformer.video.part import check_part, part_of
from timesformer.video.seen import Seen
from timesformer.video.source import Source, open_video
from timesformer.video.video import Video
from timesformer.video.views import read_views
from timesformer.video.windows import covering

UNKNOWN = "unknown"  # the answer where no class has a score of at least the threshold


class Prediction(NamedTuple):
    """A class name and its score between 0 and 1."""

    label: str
    score: float


class Answer(NamedTuple):
    """A video with its best classes, best first; or with why it cannot be read, and no class.

    video: its path, or what messages call a source that has none, such as a URL or "<array 16 x 48 x 56 x 3>".
    seen: how much of it the clips show; None where it cannot be read.
    """

    video: Path | str
    predictions: list[Prediction]
    problem: VideoError | None = None
    seen: Seen | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values: {"video": ..., "predictions": [{"label": ..., "score": ...}]}; for a video that cannot be read
        "problem", the reason; for others its length, "seconds" and "frames", "seen_seconds", what its clips are spread
        over, and "seen_frames", the frames that were looked at. Seconds are null where times are unknown."""
        row = {"video": str(self.video), "predictions": [prediction._asdict() for prediction in self.predictions]}
        if self.problem is not None:
            return {**row, "problem": self.problem.reason}
        return row if self.seen is None else {**row, **self.seen.as_dict()}


class Predictor:
    """A classifier in an engine, ready for videos. Threads may share one.

    Videos are seen as the test of the paper sees them: the clips and crops of the weights' preprocessing, mean of
    softmax scores; so a prediction agrees with the test.

    Attributes: `engine`, see `timesformer.load_engine`; `settings` of the model, of an ensemble's first one;
    `preprocessing` and `labels` of the classifier, and its `fingerprint`, which tells classifiers apart, and
    `feature_fingerprint`, which tells apart those whose features differ; `threshold`:
    the lowest score of a class that is an answer, see `timesformer.load`.
    """

    def __init__(
        self,
        engine: Engine,
        settings: ModelSettings,
        preprocessing: Preprocessing,
        labels: tuple[str, ...],
        fingerprint: str,
        feature_fingerprint: str,
        threshold: float = 0.0,
    ) -> None:
        self.engine, self.settings, self.preprocessing, self.labels = engine, settings, preprocessing, labels
        self.fingerprint, self.feature_fingerprint = fingerprint, feature_fingerprint
        self.threshold = threshold

    def __repr__(self) -> str:
        settings, engine = self.settings, self.engine
        return (
            f"Predictor({settings}; {settings.clip_shape}; {len(self.labels)} classes; engine {engine.engine}, "
            f"{engine.precision} on {engine.device})"
        )

    def with_engine(self, engine: Engine) -> Predictor:
        """The same, with another engine of the same classifier."""
        other = copy.copy(self)
        other.engine = engine
        return other

    def scores(
        self,
        video: Source,
        *,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        whole: bool = False,
    ) -> Tensor:
        """Scores of all classes, (K,) float32; they sum to 1 unless a video may have several classes.

        video and all others: as for `predict`, and the same errors.
        """
        return score_views(self.engine, self.preprocess(video, fps=fps, start=start, end=end, whole=whole))

    def preprocess(
        self,
        video: Source,
        *,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        whole: bool = False,
    ) -> Tensor:
        """The clips that the engine gets of a video: uint8 RGB (V, 3, T, S, S), of frames of any size and number.

        All V views that the video is tested with, clip by clip, the crops of each side by side: `engine` makes their
        logits, `timesformer.score_views` the scores of the video, as `scores` does.

        video and all others: as for `predict`, and the same errors.
        """
        check_part(start, end)
        with open_video(video, fps) as opened:
            return read_views(part_of(opened, start, end), self.settings.clip_shape, self._preprocessing(whole))

    def predict(
        self,
        video: Source,
        top: int = 5,
        *,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        whole: bool = False,
    ) -> list[Prediction]:
        """The `top` best classes of one video, best first (all where there are fewer).

        video: a path of a video file or of a folder of image frames, a URL, "-" for standard input, bytes, a binary
            file object, a uint8 array (T, H, W, 3) or tensor (3, T, H, W), or the frames of the video as a list of PIL
            images or of uint8 arrays (H, W, 3). For a list of videos there is `predict_all`.
        fps: frame rate of arrays and lists, in frames a second, where known.
        start, end: the part of the video that is classified, in seconds after its first frame, as if it were cut there;
            None is where it starts, and ends.
        whole: the mean over windows that cover the video, or the part, from its start to its end: sampling `cover`, in
            windows of what a clip spans; with `segments`, of the median length of the training videos.

        Raises VideoError for a video that cannot be read and for a part that it does not have, SettingError for what is
        no source of frames, for `top` below 1, for an `end` that is not after the `start`, and for `whole` where the
        weights do not say how long a window is.
        """
        check_top(top)
        return self.best(self.scores(video, fps=fps, start=start, end=end, whole=whole), top)

    def predict_all(
        self,
        videos: Sources,
        top: int = 5,
        *,
        fps: float | None = None,
        start: float | None = None,
        end: float | None = None,
        whole: bool = False,
        workers: int | None = None,
    ) -> Iterator[Answer]:
        """`predict` for each of many videos, in their order, while processes decode those to come.

        A video that cannot be read does not stop the others, nor does one that kills the process that decodes it, or
        with which that process does nothing for a minute.

        videos: a list, or any other iterable, of what `predict` takes: a list of arrays (T, H, W, 3) is a list of
            videos, and the frames of one video go as [frames]. One video that is no list, such as a path, counts as a
            list of one.
        fps: frame rate of arrays and lists; all `videos` have to be such then.
        start, end, whole: as for `predict`, of every video.
        workers: processes that decode; one a core if not given, and no more than there are videos. None start in a
            daemonic process. Open files and standard input are read into memory first.

        Raises SettingError, before anything is read, for what `predict` raises it for; WorkerError where a process
        dies or hangs with several videos in a row, or does nothing from its start on.
        """
        check_top(top)
        sources = list_sources(videos)
        shape, preprocessing = self.settings.clip_shape, self._preprocessing(whole)
        views = UnlabelledViews(sources, shape, preprocessing, fps, start=start, end=end)
        at_most = testing_workers(workers, len(sources))
        batches = testing_loader(views, 1, make(Data, {"workers": at_most}, "predict"))
        return self.answers(map(views.name, range(len(views))), batches, top)

    def timeline(
        self,
        video: Source | Video,
        *,
        window: float | None = None,
        stride: float | None = None,
        start: float | None = None,
        end: float | None = None,
        smooth: float = 0.0,
        after: float | None = None,
    ) -> Generator[WindowRow, None, None]:
        """What a video shows over time: a row for each window, as soon as it is known, in memory that does not grow
        with the length of the video. Every frame is decoded once. A row has the scores of `predict` on that part.

        video: as for `predict`, or a video that is open. All others in seconds:
        window: length of a window; what a clip spans if not given, with `segments` the median length of the training
            videos. stride: from a window to the next, half a window if not given.
        start, end: the part of the video that has windows. smooth: scores become the mean over the windows whose
            centres lie within that of a window's own. after: only the windows that start later than this.
        The `threshold` of `load` is not of timelines: a row has its best class whatever the score.

        Raises SettingError, before anything is read, for values that are not allowed, and where the weights do not say
        how long a window is; VideoError for a video that cannot be read, at its first frame that cannot.
        """
        options = TimelineOptions(window, stride, start, end, smooth)
        options.check(self.engine, self.preprocessing)
        if after is not None and not 0 <= after < math.inf:
            raise SettingError(f"after is {after:g}; expected seconds, 0 or more")
        return self._timeline(video, options, after)

    def answers(self, names: Iterable[Path | str], batches: Iterable[Batch], top: int) -> Iterator[Answer]:
        """The answers of videos whose views have been read, each in a batch of its own, in their order."""
        multilabel = self.settings.multilabel
        scored = score_batches(self.engine, batches, multilabel=multilabel, views=self.engine.views)
        for name, (batch, scores_BK) in zip(names, scored, strict=True):
            if batch.problems:
                yield Answer(name, [], batch.problems[0])
            else:
                yield Answer(name, self.best(scores_BK[0], top), seen=batch.seen[0])

    def _timeline(
        self, video: Source | Video, options: TimelineOptions, after: float | None
    ) -> Generator[WindowRow, None, None]:
        if isinstance(video, Video):
            yield from timeline_rows(self.engine, self.preprocessing, self.labels, video, options, after)
        else:
            with open_video(video) as opened:
                yield from self._timeline(opened, options, after)

    def _preprocessing(self, whole: bool) -> Preprocessing:
        return covering(self.settings.clip_shape, self.preprocessing) if whole else self.preprocessing

    def best(self, scores_K: Tensor, top: int) -> list[Prediction]:
        """The `top` best classes by scores (K,), best first; UNKNOWN where none has the threshold."""
        values, numbers = scores_K.topk(min(top, len(self.labels)))
        best = [
            Prediction(self.labels[number], value)
            for number, value in zip(numbers.tolist(), values.tolist(), strict=True)
        ]
        found = [prediction for prediction in best if prediction.score >= self.threshold]
        return found or [Prediction(UNKNOWN, best[0].score)]


def check_top(top: int) -> None:
    """Raises SettingError for a number of best classes below 1."""
    if top < 1:
        raise SettingError(f"top is {top}; expected at least 1")
