"""Evaluate a classifier on a split of a data set, the way the paper does: views, mean of scores, accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from timesformer.config import Data
from timesformer.data.dataset import SkippedVideos, TestingViews
from timesformer.data.loader import ALONE, Process, testing_loader, testing_workers
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.engine.engine import Engine, EngineName, Precision, make_engine
from timesformer.engine.file import Loaded
from timesformer.engine.fingerprint import fingerprint_of
from timesformer.errors import DataError, VideoError
from timesformer.evaluation.calibration import calibration_clips
from timesformer.evaluation.metrics import Metrics, MultilabelMetrics, measure, measure_multilabel
from timesformer.evaluation.processes import find_process, gather, joined
from timesformer.evaluation.protocol import as_classifiers, change_protocol
from timesformer.evaluation.scores import score_batches
from timesformer.settings import make
from timesformer.weights.classifier import Classifier


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """Scores and metrics of the videos of a split, B of which could be read.

    Attributes:
        metrics: top-1, top-5 (of more than five classes), mean class accuracy and AUC (of two classes); in multi-label
            data the mean average precision.
        scores_BK: float32, one row a video.
        labels_B: class numbers; in multi-label data rows (B, K) of zeros and ones.
        paths: the videos, in the order of the rows.
        labels: the names of the K classes.
        skipped: the videos that could not be read, each with its `path` and `reason`.
        engine, precision: what computed the logits, such as "eager" and "fp32".
        fingerprint: of the weights, as they were before their protocol was changed; "" where that is unknown.
        first_process: False in all but one of the processes that share an evaluation, which all have the whole result.
    """

    metrics: Metrics | MultilabelMetrics
    scores_BK: Tensor = field(repr=False)
    labels_B: Tensor = field(repr=False)
    paths: tuple[Path, ...] = field(repr=False)
    labels: tuple[str, ...]
    skipped: tuple[VideoError, ...]
    engine: str
    precision: str
    fingerprint: str = ""
    first_process: bool = True

    def summary(self) -> dict[str, float | int | str]:
        """In plain values: top1, top5 of more than five classes, mean_class_accuracy, auc of two classes (or
        mean_average_precision), videos, skipped, engine, precision."""
        counts = {"videos": len(self.paths), "skipped": len(self.skipped)}
        return {**self.metrics.known(), **counts, "engine": self.engine, "precision": self.precision}


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
    precision: Precision = "auto",
    device: str = "auto",
    workers: int | None = None,
    max_bad_fraction: float = 0.05,
    on_progress: OnProgress = ignore,
) -> EvaluationResult:
    """Score every video of a split with a classifier, and measure the scores against the classes of the videos.

    The score of a video is the mean softmax over its views (paper, section 4), or the mean sigmoid where a video may
    have several classes.

    Args:
        weights: what `timesformer.load_model` takes, an ensemble, or a classifier.
        data: folder of the data set.
        split: "train", "val" or "test".
        clips, crops, sampling, frames, image_size, position_resize: how videos are seen, where it is not as the weights
            say: temporal clips; spatial crops, 1 or 3; "span", "segments" or "cover"; frames of a clip and side of a
            crop in pixels, to which position tables are resized by "bicubic", "nearest" or "nearest_flat".
        labels: a file of class names, one a line, in place of those that come with the weights.
        engine, precision, device: as for `timesformer.load_engine`, and the same defaults as `timesformer.load` has, so
            that what is measured is what predicts. int8 is calibrated on videos of the split.
        workers: processes that decode; one a core if not given.
        max_bad_fraction: fraction of unreadable videos, 0 to 1, over which the evaluation stops.
        on_progress: called when the engine is ready, and after each video.

    Raises:
        SettingError: an argument has a value that is not allowed.
        DataError: a class of the data is unknown to the classifier, only one of data and weights is multi-label, or too
            many videos cannot be read. Those that are fewer are in the result's `skipped`.
        WeightsError, EngineError: as for `timesformer.load_engine`.
        WorkerError: a process that decodes videos has died or hangs.
    """
    manifest = read_manifest(Path(data), split)
    at_most = testing_workers(workers, len(manifest.videos))
    settings = make(Data, {"workers": at_most, "max_bad_fraction": max_bad_fraction}, "test")
    loaded = as_classifiers(weights, labels)
    fingerprint = fingerprint_of(loaded)
    members = [
        change_protocol(
            member,
            clips=clips,
            crops=crops,
            sampling=sampling,
            frames=frames,
            image_size=image_size,
            position_resize=position_resize,
        )
        for member in loaded
    ]
    classifier = members[0]  # what decides how videos are seen is the same in all members of an ensemble
    manifest = fitting(manifest, classifier)
    videos = [video.path for video in manifest.videos] if precision == "int8" else []
    clips_BCTSS = calibration_clips(videos, classifier)
    process = find_process()
    with joined(process):
        network = make_engine(members, engine, precision, device, clips_BCTSS, forget=False)
        result = evaluate_manifest(classifier, manifest, network, settings, on_progress, process=process)
    return replace(result, fingerprint=fingerprint)


def evaluate_manifest(
    classifier: Loaded,
    manifest: Manifest,
    engine: Engine,
    data: Data,
    on_progress: OnProgress = ignore,
    skipped: SkippedVideos | None = None,
    process: Process = ALONE,
) -> EvaluationResult:
    """As `evaluate`, for a split that is read already and an engine of the classifier's network.

    skipped: counts the videos that cannot be read; those of the manifest alone if not given. process: this one among
    those that share the videos; the first one alone calls on_progress, with its own part of them.
    """
    manifest = fitting(manifest, classifier)
    skipped = skipped or SkippedVideos(manifest, data.max_bad_fraction)
    report = ignore if process.rank else on_progress
    views = TestingViews(manifest, classifier.settings.clip_shape, classifier.preprocessing)
    own = _score(views, engine, data, report, skipped, process)
    known = len(skipped.reasons)
    parts = [(scored, skipped.add(problems)) for scored, problems in gather((own, _problems(skipped)), process)]
    if len(skipped.reasons) > known:
        others = [problem for _, problems in parts for problem in problems]
        report(Progress(engine, len(manifest.videos), len(manifest.videos), others))
    found = {row: scored for part, _ in parts for row, *scored in part}
    rows = sorted(found)
    scores_BK, labels_B = (torch.stack(tensors) for tensors in zip(*(found[row] for row in rows), strict=True))
    return EvaluationResult(
        metrics=(measure_multilabel if manifest.multilabel else measure)(scores_BK, labels_B),
        scores_BK=scores_BK,
        labels_B=labels_B,
        paths=tuple(manifest.videos[row].path for row in rows),
        labels=manifest.labels,
        skipped=_problems(skipped),
        engine=engine.engine,
        precision=engine.precision,
        first_process=process.rank == 0,
    )


def _score(
    views: TestingViews,
    engine: Engine,
    data: Data,
    on_progress: OnProgress,
    skipped: SkippedVideos,
    process: Process,
) -> list[tuple[int, Tensor, Tensor]]:
    """Row, scores (K,) and label of each video of this process that can be read."""
    found, done = list[tuple[int, Tensor, Tensor]](), 0
    batches = testing_loader(views, 1, data, process)
    total = len(batches)
    on_progress(Progress(engine, done, total, []))
    for batch, scores_BK in score_batches(engine, batches, multilabel=engine.multilabel, views=engine.views):
        new = skipped.add(batch.problems)
        found += zip(batch.rows_B.tolist(), scores_BK, batch.labels_B, strict=True)
        done += len(batch.rows_B) + len(batch.problems)
        on_progress(Progress(engine, done, total, new))
    return found


def _problems(skipped: SkippedVideos) -> tuple[VideoError, ...]:
    return tuple(VideoError(path, reason) for path, reason in skipped.reasons.items())


def fitting(manifest: Manifest, classifier: Loaded) -> Manifest:
    """The manifest with its classes numbered as the classifier's. Raises DataError where the two do not match."""
    manifest = manifest.with_labels(classifier.labels)
    multilabel = classifier.settings.multilabel
    if multilabel != manifest.multilabel:
        raise DataError(
            f"{manifest.source}: has {_kinds(manifest.multilabel)}; the weights were trained for {_kinds(multilabel)}"
        )
    return manifest


def _kinds(multilabel: bool) -> str:
    return "several classes a video (a column labels)" if multilabel else "one class a video (a column label)"
