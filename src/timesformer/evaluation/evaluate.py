"""Evaluate a classifier on a split of a data set, the way the paper does: views, mean of scores, accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.config import Data
from timesformer.data.dataset import SkippedVideos, TestingViews
from timesformer.data.loader import testing_loader
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.engine.engine import Engine, EngineName, Precision, load_engine
from timesformer.errors import DataError, VideoError
from timesformer.evaluation.calibration import calibration_clips
from timesformer.evaluation.metrics import Metrics, MultilabelMetrics, measure, measure_multilabel
from timesformer.evaluation.protocol import as_classifier, change_protocol
from timesformer.evaluation.scores import score_batches
from timesformer.settings import make
from timesformer.weights.classifier import Classifier


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Scores and metrics of the videos of a split, B of which could be read.

    Attributes:
        metrics: top-1, top-5 and mean class accuracy; in multi-label data the mean average precision.
        scores_BK: float32, one row a video.
        labels_B: class numbers; in multi-label data rows (B, K) of zeros and ones.
        paths: the videos, in the order of the rows.
        labels: the names of the K classes.
        skipped: the videos that could not be read, each with its `path` and `reason`.
    """

    metrics: Metrics | MultilabelMetrics
    scores_BK: Tensor = field(repr=False)
    labels_B: Tensor = field(repr=False)
    paths: tuple[Path, ...] = field(repr=False)
    labels: tuple[str, ...]
    skipped: tuple[VideoError, ...]

    def summary(self) -> dict[str, float | int]:
        """The numbers alone: top1, top5, mean_class_accuracy (or mean_average_precision), videos, skipped."""
        return {**self.metrics._asdict(), "videos": len(self.paths), "skipped": len(self.skipped)}


class Progress(NamedTuple):
    """How far an evaluation is.

    engine: what computes the logits; done, total: videos; problems: those that could not be read since the last call.
    """

    engine: Engine
    done: int
    total: int
    problems: list[VideoError]


OnProgress = Callable[[Progress], object]


def ignore(progress: Progress) -> None:
    """For callers that do not ask."""


def evaluate(
    weights: str | Path | Classifier,
    data: str | Path,
    *,
    split: str = "test",
    clips: int | None = None,
    crops: int | None = None,
    sampling: str | None = None,
    frames: int | None = None,
    image_size: int | None = None,
    position_resize: str | None = None,
    labels: str | Path | None = None,
    engine: EngineName = "auto",
    precision: Precision = "fp32",
    device: str = "auto",
    workers: int | None = None,
    max_bad_fraction: float = 0.05,
    on_progress: OnProgress = ignore,
) -> EvaluationResult:
    """Score every video of a split with a classifier, and measure the scores against the classes of the videos.

    The score of a video is the mean softmax over its views (paper, section 4), or the mean sigmoid where a video may
    have several classes.

    Args:
        weights: what `timesformer.load_model` takes, or a classifier.
        data: folder of the data set.
        split: "train", "val" or "test".
        clips, crops, sampling, frames, image_size, position_resize: how videos are seen, where it is not as the weights
            say: temporal clips; spatial crops, 1 or 3; "span", "segments" or "cover"; frames of a clip and side of a
            crop in pixels, to which position tables are resized by "bicubic", "nearest" or "nearest_flat".
        labels: a file of class names, one a line, in place of those that come with the weights.
        engine, precision, device: as for `timesformer.load_engine`. int8 is calibrated on videos of the split.
        workers: processes that decode; one a core, at most 8, if not given.
        max_bad_fraction: fraction of unreadable videos, 0 to 1, over which the evaluation stops.
        on_progress: called when the engine is ready, and after each video.

    Raises:
        SettingError: an argument has a value that is not allowed.
        DataError: a class of the data is unknown to the classifier, only one of data and weights is multi-label, or too
            many videos cannot be read. Those that are fewer are in the result's `skipped`.
        WeightsError, EngineError: as for `timesformer.load_engine`.
    """
    manifest = read_manifest(Path(data), split)
    settings = make(Data, {"workers": workers, "max_bad_fraction": max_bad_fraction}, "test")
    classifier = change_protocol(
        as_classifier(weights, labels),
        clips=clips,
        crops=crops,
        sampling=sampling,
        frames=frames,
        image_size=image_size,
        position_resize=position_resize,
    )
    manifest = _fitting(manifest, classifier)
    videos = [video.path for video in manifest.videos] if precision == "int8" else []
    network = load_engine(classifier, engine, precision, device=device, clips=calibration_clips(videos, classifier))
    return evaluate_manifest(classifier, manifest, network, settings, on_progress)


def evaluate_manifest(
    classifier: Classifier, manifest: Manifest, engine: Engine, data: Data, on_progress: OnProgress = ignore
) -> EvaluationResult:
    """As `evaluate`, for a split that is read already and an engine of the classifier's network."""
    manifest = _fitting(manifest, classifier)
    multilabel, total = manifest.multilabel, len(manifest.videos)
    skipped = SkippedVideos(manifest, data.max_bad_fraction)
    views = TestingViews(manifest, classifier.model.clip_shape, classifier.preprocessing)
    batches = testing_loader(views, 1, data)
    scores, labels, rows, done = [], [], [], 0
    on_progress(Progress(engine, done, total, []))
    for batch, scores_BK in score_batches(engine, batches, multilabel=multilabel, views=engine.views):
        skipped.add(batch.problems)
        if len(batch.rows_B):
            scores.append(scores_BK)
            labels.append(batch.labels_B)
            rows += batch.rows_B.tolist()
        done += len(batch.rows_B) + len(batch.problems)
        on_progress(Progress(engine, done, total, batch.problems))
    all_scores_BK, labels_B = torch.cat(scores), torch.cat(labels)
    return EvaluationResult(
        metrics=measure_multilabel(all_scores_BK, labels_B) if multilabel else measure(all_scores_BK, labels_B),
        scores_BK=all_scores_BK,
        labels_B=labels_B,
        paths=tuple(manifest.videos[row].path for row in rows),
        labels=manifest.labels,
        skipped=tuple(VideoError(path, reason) for path, reason in skipped.reasons.items()),
    )


def _fitting(manifest: Manifest, classifier: Classifier) -> Manifest:
    """The manifest with its classes numbered as the classifier's. Raises DataError where the two do not match."""
    manifest = manifest.with_labels(classifier.labels)
    multilabel = classifier.model.settings.multilabel
    if multilabel != manifest.multilabel:
        raise DataError(
            f"{manifest.source}: has {_kinds(manifest.multilabel)}; the weights were trained for {_kinds(multilabel)}"
        )
    return manifest


def _kinds(multilabel: bool) -> str:
    return "several classes a video (a column labels)" if multilabel else "one class a video (a column label)"
