"""Name what happens in a video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.config import Preprocessing
from timesformer.data.dataset import Problem
from timesformer.data.manifest import find_videos
from timesformer.errors import SettingError, VideoError
from timesformer.evaluation.scores import score_views
from timesformer.model.timesformer import TimeSformer
from timesformer.video.source import open_video
from timesformer.video.views import testing_views
from timesformer.weights import Classifier, open_weights


class Prediction(NamedTuple):
    """A class name and its score between 0 and 1."""

    label: str
    score: float


class Answers(NamedTuple):
    """Of many videos, the predictions for those that could be read, and the problems of the others."""

    predictions: list[tuple[Path, list[Prediction]]]
    problems: list[Problem]


class Predictor:
    """A classifier on a device, ready for videos.

    Videos are seen as the test of the paper sees them: the clips and crops of the weights' preprocessing, mean of
    softmax scores; so a prediction agrees with the test.

    Attributes: `model`, `preprocessing` and `labels` of the classifier.
    """

    def __init__(self, classifier: Classifier, device: str | torch.device = "cpu") -> None:
        self.model: TimeSformer = classifier.model.to(device).eval()
        self.preprocessing: Preprocessing = classifier.preprocessing
        self.labels: tuple[str, ...] = classifier.labels

    def scores(self, video: str | Path) -> Tensor:
        """Scores of all classes, (K,) summing to 1 unless a video may have several classes.

        Raises VideoError for a video that cannot be read.
        """
        with open_video(video) as opened:
            views_VCTSS = testing_views(opened, self.model.settings, self.preprocessing)
        return score_views(self.model, self.preprocessing, views_VCTSS, torch.tensor([len(views_VCTSS)]))[0]

    def predict(self, video: str | Path, top: int = 5) -> list[Prediction]:
        """The `top` best classes of a video file or folder of image frames, best first (all where there are fewer).

        Raises VideoError for a video that cannot be read, SettingError for `top` below 1.
        """
        if top < 1:
            raise SettingError(f"top is {top}: at least 1")
        values, numbers = self.scores(video).topk(min(top, len(self.labels)))
        return [
            Prediction(self.labels[number], value)
            for number, value in zip(numbers.tolist(), values.tolist(), strict=True)
        ]

    def predict_all(self, videos: Iterable[str | Path], top: int = 5) -> Answers:
        """`predict` for each of many videos; one that cannot be read does not stop the others."""
        answers = Answers([], [])
        for video in map(Path, videos):
            try:
                answers.predictions.append((video, self.predict(video, top)))
            except VideoError as error:
                answers.problems.append(Problem(video, str(error)))
        return answers


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
    weights: str | Path, device: str = "auto", *, labels: str | Path | None = None, heads: int | None = None
) -> Predictor:
    """A predictor from weights of any layout: a folder, a file, the folder of a training run, or a hub id.

    `device`: "cpu", "cuda", "mps", or "auto", which takes a GPU where there is one. `labels`: a file of class names,
    one a line, in place of those that come with the weights. `heads`: attention heads, for files that do not tell.
    Raises WeightsError where `weights` is none, SettingError for a device that is not there.
    """
    return Predictor(open_weights(weights, labels=labels, heads=heads), find_device(device))


def find_device(device: str = "auto") -> torch.device:
    """A device by name; "auto" takes a GPU where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise SettingError(f"device {device!r} cannot be used here, expected auto, cpu, cuda or mps: "
                           f"{str(error).splitlines()[0]}") from None  # fmt: skip
    return torch.device(device)
