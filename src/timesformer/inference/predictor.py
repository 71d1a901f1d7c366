"""Name what happens in a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.config import Data, ModelSettings, Preprocessing
from timesformer.data.dataset import Problem, UnlabelledViews
from timesformer.data.loader import cores, testing_loader
from timesformer.data.manifest import find_videos
from timesformer.errors import SettingError, VideoError
from timesformer.evaluation.scores import score_batches
from timesformer.inference.engine import Engine, EngineName, Precision, make_engine
from timesformer.settings import make
from timesformer.video.source import open_video
from timesformer.video.views import testing_views
from timesformer.weights import Classifier, open_weights

CALIBRATING = 16  # videos, at most, that an eight-bit engine is calibrated on


class Prediction(NamedTuple):
    """A class name and its score between 0 and 1."""

    label: str
    score: float


class Answer(NamedTuple):
    """Of a video: its best classes, best first; or why it cannot be read, and no class."""

    video: Path
    predictions: list[Prediction]
    problem: Problem | None = None


class Predictor:
    """A classifier in an engine, ready for videos.

    Videos are seen as the test of the paper sees them: the clips and crops of the weights' preprocessing, mean of
    softmax scores; so a prediction agrees with the test.

    Attributes: `engine`, see `timesformer.load_engine`; `settings` of the model; `preprocessing` and `labels` of the
    classifier.
    """

    def __init__(
        self, engine: Engine, settings: ModelSettings, preprocessing: Preprocessing, labels: tuple[str, ...]
    ) -> None:
        self.engine, self.settings, self.preprocessing, self.labels = engine, settings, preprocessing, labels

    def scores(self, video: str | Path) -> Tensor:
        """Scores of all classes, (K,) summing to 1 unless a video may have several classes.

        Raises VideoError for a video that cannot be read.
        """
        ((_, scores_K, problem),) = self.stream_scores([video], workers=0)
        if problem is not None:
            raise VideoError(problem.reason)
        return scores_K

    def predict(self, video: str | Path, top: int = 5) -> list[Prediction]:
        """The `top` best classes of a video file or folder of image frames, best first (all where there are fewer).

        Raises VideoError for a video that cannot be read, SettingError for `top` below 1.
        """
        _check_top(top)
        return self._best(self.scores(video), top)

    def predict_all(
        self, videos: Sequence[str | Path], top: int = 5, *, workers: int | None = None
    ) -> Iterator[Answer]:
        """`predict` for each of many videos, in their order, while processes decode those to come.

        One that cannot be read does not stop the others. `workers`: processes that decode; one a core if not given,
        and no more than there are videos. Raises SettingError for `top` below 1.
        """
        _check_top(top)
        return (
            Answer(video, [] if problem else self._best(scores_K, top), problem)
            for video, scores_K, problem in self.stream_scores(videos, workers=workers)
        )

    def stream_scores(
        self, videos: Sequence[str | Path], *, workers: int | None = None
    ) -> Iterator[tuple[Path, Tensor, Problem | None]]:
        """Each video with its scores (K,), or its problem; see `predict_all`."""
        paths = [Path(video) for video in videos]
        views = UnlabelledViews(paths, self.settings, self.preprocessing)
        most = min(len(paths), cores() if workers is None else workers)
        batches = testing_loader(views, 1, make(Data, {"workers": 0 if len(paths) == 1 else most}, "predict"))
        multilabel = self.settings.multilabel
        for batch, scores_BK in score_batches(self.engine, batches, multilabel=multilabel, views=self.engine.views):
            if batch.problems:
                yield batch.problems[0].path, torch.empty(0), batch.problems[0]
            else:
                yield paths[int(batch.rows_B[0])], scores_BK[0], None

    def _best(self, scores_K: Tensor, top: int) -> list[Prediction]:
        values, numbers = scores_K.topk(min(top, len(self.labels)))
        return [
            Prediction(self.labels[number], value)
            for number, value in zip(numbers.tolist(), values.tolist(), strict=True)
        ]


def _check_top(top: int) -> None:
    if top < 1:
        raise SettingError(f"top is {top}: at least 1")


def gather_videos(places: Sequence[str | Path]) -> list[Path]:
    """The videos that places name: a folder stands for all videos and folders of image frames in it.

    Raises VideoError for a folder that holds none. Whether a file is there is only known when it is read.
    """
    paths: list[Path] = []
    for place in map(Path, places):
        found = find_videos(place) if place.is_dir() else [place]
        if not found:
            raise VideoError(f"{place}: the folder holds no videos or image frames")
        paths += found
    return paths


def load(
    weights: str | Path,
    device: str = "auto",
    *,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    calibration: Sequence[str | Path] = (),
    labels: str | Path | None = None,
    heads: int | None = None,
) -> Predictor:
    """A predictor from weights of any layout: a folder, a file, the folder of a training run, or a hub id.

    `device`: "cpu", "cuda", "mps", or "auto", which takes a GPU where there is one. `engine`, `precision`: as
    `timesformer.load_engine` has them. `calibration`: videos like those to come, which precision "int8" needs, better
    16 than 1; any engine given some is compared with the float32 model on them. `labels`: a file of class names, one a
    line, in place of those that come with the weights. `heads`: attention heads, for files that do not tell.

    Raises WeightsError where `weights` is none, SettingError for a device, engine or precision that is not there,
    EngineError for an engine that misses its agreement, VideoError where no video of `calibration` can be read.
    """
    classifier = open_weights(weights, labels=labels, heads=heads)
    clips = some_views(calibration, classifier)
    found = make_engine(classifier, engine, precision, device, clips, classifier.forget)
    return Predictor(found, classifier.model.settings, classifier.preprocessing, classifier.labels)


def some_views(videos: Sequence[str | Path], classifier: Classifier) -> Tensor | None:
    """The middle view of up to CALIBRATING videos, spread over those given: uint8 (B, 3, T, S, S); None of none.

    Raises VideoError where none of them can be read.
    """
    if not videos:
        return None
    views, problems = [], []
    for video in videos[:: -(-len(videos) // CALIBRATING)]:
        try:
            with open_video(video) as opened:
                seen = testing_views(opened, classifier.model.settings, classifier.preprocessing)
        except VideoError as error:
            problems.append(str(error))
            continue
        views.append(seen[len(seen) // 2])
    if not views:
        raise VideoError(f"none of the {len(problems)} videos to calibrate on can be read: {problems[0]}")
    return torch.stack(views)
