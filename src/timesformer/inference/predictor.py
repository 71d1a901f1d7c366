"""Classify videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from timesformer.config import Data, ModelSettings, Preprocessing
from timesformer.data.dataset import Batch, UnlabelledViews
from timesformer.data.loader import testing_loader
from timesformer.device import cores
from timesformer.engine.engine import Engine, EngineName, Precision, load_engine, make_engine
from timesformer.errors import SettingError, VideoError
from timesformer.evaluation.calibration import calibration_clips
from timesformer.evaluation.protocol import as_classifier
from timesformer.evaluation.scores import score_batches, score_views
from timesformer.inference.sources import Sources, list_sources
from timesformer.settings import make
from timesformer.video.source import Source, source_name
from timesformer.video.views import read_views
from timesformer.weights.classifier import Classifier


class Prediction(NamedTuple):
    """A class name and its score between 0 and 1."""

    label: str
    score: float


class Answer(NamedTuple):
    """A video with its best classes, best first; or with why it cannot be read, and no class.

    video: its path, or what messages call a source that has none, such as a URL or "<array 16 x 48 x 56 x 3>".
    """

    video: Path | str
    predictions: list[Prediction]
    problem: VideoError | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values: {"video": ..., "predictions": [{"label": ..., "score": ...}]}, and for a video that cannot be
        read "problem", the reason."""
        row = {"video": str(self.video), "predictions": [prediction._asdict() for prediction in self.predictions]}
        return row if self.problem is None else {**row, "problem": self.problem.reason}


class Predictor:
    """A classifier in an engine, ready for videos. Threads may share one.

    Videos are seen as the test of the paper sees them: the clips and crops of the weights' preprocessing, mean of
    softmax scores; so a prediction agrees with the test.

    Attributes: `engine`, see `timesformer.load_engine`; `settings` of the model; `preprocessing` and `labels` of the
    classifier.
    """

    def __init__(
        self, engine: Engine, settings: ModelSettings, preprocessing: Preprocessing, labels: tuple[str, ...]
    ) -> None:
        self.engine, self.settings, self.preprocessing, self.labels = engine, settings, preprocessing, labels

    def scores(self, video: Source, *, fps: float | None = None) -> Tensor:
        """Scores of all classes, (K,) float32; they sum to 1 unless a video may have several classes.

        video, fps: as for `predict`, and the same errors.
        """
        views_VCTSS = read_views(video, self.settings.clip_shape, self.preprocessing, fps=fps)
        return score_views(self.engine, views_VCTSS)

    def predict(self, video: Source, top: int = 5, *, fps: float | None = None) -> list[Prediction]:
        """The `top` best classes of one video, best first (all where there are fewer).

        video: a path of a video file or of a folder of image frames, a URL, "-" for standard input, bytes, a binary
            file object, a uint8 array (T, H, W, 3) or tensor (3, T, H, W), or the frames of the video as a list of PIL
            images or of uint8 arrays (H, W, 3). For a list of videos there is `predict_all`.
        fps: frame rate of arrays and lists, in frames a second, where known.

        Raises VideoError for a video that cannot be read, SettingError for what is no source of frames and for `top`
        below 1.
        """
        _check_top(top)
        return self._best(self.scores(video, fps=fps), top)

    def predict_all(
        self, videos: Sources, top: int = 5, *, fps: float | None = None, workers: int | None = None
    ) -> Iterator[Answer]:
        """`predict` for each of many videos, in their order, while processes decode those to come.

        A video that cannot be read does not stop the others.

        videos: a list, or any other iterable, of what `predict` takes: a list of arrays (T, H, W, 3) is a list of
            videos, and the frames of one video go as [frames]. One video that is no list, such as a path, counts as a
            list of one.
        fps: frame rate of arrays and lists; all `videos` have to be such then.
        workers: processes that decode; one a core if not given, and no more than there are videos. None start for a
            single video, or in a daemonic process. Open files and standard input are read into memory first.

        Raises SettingError, before anything is read, for what is no source of frames and for `top` below 1.
        """
        _check_top(top)
        sources = list_sources(videos)
        views = UnlabelledViews(sources, self.settings.clip_shape, self.preprocessing, fps)
        at_most = min(len(sources), cores() if workers is None else workers)
        batches = testing_loader(views, 1, make(Data, {"workers": at_most}, "predict"))
        names = [source_name(source) for source in views.sources]
        multilabel = self.settings.multilabel
        scored = score_batches(self.engine, batches, multilabel=multilabel, views=self.engine.views)
        return self._answers(names, scored, top)

    def _answers(self, names: list[Path | str], scored: Iterator[tuple[Batch, Tensor]], top: int) -> Iterator[Answer]:
        for name, (batch, scores_BK) in zip(names, scored, strict=True):
            if batch.problems:
                yield Answer(name, [], batch.problems[0])
            else:
                yield Answer(name, self._best(scores_BK[0], top))

    def _best(self, scores_K: Tensor, top: int) -> list[Prediction]:
        values, numbers = scores_K.topk(min(top, len(self.labels)))
        return [
            Prediction(self.labels[number], value)
            for number, value in zip(numbers.tolist(), values.tolist(), strict=True)
        ]


def _check_top(top: int) -> None:
    if top < 1:
        raise SettingError(f"top is {top}; expected at least 1")


def load(
    weights: str | Path | Classifier,
    device: str = "auto",
    *,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    calibration: Sources = (),
    labels: str | Path | None = None,
    heads: int | None = None,
) -> Predictor:
    """A predictor from weights of any layout: a folder, a file, the folder of a training run, or a hub id.

    weights: these, or a classifier. device: "cpu", "cuda", "mps", or "auto", which takes a GPU where there is one.
    engine, precision: as for `timesformer.load_engine`. calibration: videos like those to come, which precision "int8"
    needs, better 16 than 1; any engine given some is compared with the float32 model on them. labels: a file of class
    names, one a line, in place of those that come with the weights. heads: attention heads, for files that do not say.

    Raises WeightsError for what is no weights, SettingError for a device, engine or precision that is not available,
    EngineError for an engine that misses its agreement, DataError where no video of `calibration` can be read.
    """
    classifier = as_classifier(weights, labels, heads)
    clips = calibration_clips(list_sources(calibration), classifier)
    if isinstance(weights, Classifier):
        made = load_engine(classifier, engine, precision, device=device, clips=clips)
    else:  # just read and seen by nobody else, so that its memory can be let go of
        made = make_engine(classifier, engine, precision, device, clips, classifier.forget)
    return Predictor(made, classifier.model.settings, classifier.preprocessing, classifier.labels)
