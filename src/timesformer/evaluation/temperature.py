"""Scores that can be taken at their word: one temperature, by which all logits are divided (Guo et al., 2017).

It is kept in the weights themselves: the last linear layer is divided by it. So every engine, ensemble, command and
layout has the same scores without knowing of it, and so have other programs that read the weights.

Dimensions: V views of all videos, B videos, K classes.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from timesformer.config import Data
from timesformer.data.dataset import SkippedVideos, TestingViews
from timesformer.data.loader import testing_loader, testing_workers
from timesformer.data.manifest import read_manifest
from timesformer.engine.engine import EngineName, Precision, make_engine
from timesformer.errors import DataError, SettingError, WeightsError
from timesformer.evaluation.bootstrap import calibration_error
from timesformer.evaluation.calibration import calibration_clips
from timesformer.evaluation.evaluate import OnProgress, Progress, fitting, ignore
from timesformer.evaluation.processes import find_process
from timesformer.evaluation.scores import mean_scores, run_batches
from timesformer.settings import make
from timesformer.weights.classifier import Classifier, load_model

LOWEST, HIGHEST = 0.05, 20.0  # temperatures that are tried
FACT = "temperature"  # its name among the facts of weights
TOLERANCE = 1e-4  # of the logits, as a fraction of the largest


@dataclass(frozen=True)
class Calibration:
    """Weights with a temperature.

    Attributes:
        classifier: the weights, with a last layer that is divided by the temperature.
        temperature: above 1 where the scores were too sure.
        loss, error: the log-loss and the calibration error, each before and after, of the videos that it was fitted on.
        videos: how many these are.
    """

    classifier: Classifier
    temperature: float
    loss: tuple[float, float]
    error: tuple[float, float]
    videos: int


def calibrate(
    weights: str | Path,
    data: str | Path,
    *,
    split: str = "val",
    labels: str | Path | None = None,
    engine: EngineName = "auto",
    precision: Precision = "auto",
    device: str = "auto",
    workers: int | None = None,
    max_bad_fraction: float = 0.05,
    on_progress: OnProgress = ignore,
) -> Calibration:
    """Fit the temperature whose scores of the videos of a split have the lowest log-loss.

    The score of a video is the mean over its views of softmax(logits / temperature). A split that the weights were
    trained on gives a temperature that is far too low; one that they are tested on, an error that is somewhat too low.

    weights: what `timesformer.load_model` takes. The other arguments are those of `timesformer.evaluate`.

    Raises as `evaluate` does, and WeightsError for weights with a temperature, or of several classes a video;
    DataError where no temperature fits, as where all videos are right; SettingError for an architecture whose last
    layer is not linear.
    """
    if (processes := find_process().world) > 1:
        raise SettingError(f"calibrate: {processes} processes; start it in one, without torchrun")
    classifier = load_model(weights, labels=labels)
    if FACT in classifier.facts:
        raise WeightsError(
            f"{weights}: has a temperature already ({classifier.facts[FACT]}); calibrate the weights it was made of"
        )
    if classifier.model.settings.multilabel:
        raise WeightsError(f"{weights}: trained for several classes a video; a temperature is for one class a video")
    manifest = fitting(read_manifest(Path(data), split), classifier)
    at_most = testing_workers(workers, len(manifest.videos))
    settings = make(Data, {"workers": at_most, "max_bad_fraction": max_bad_fraction}, "calibrate")
    sources = [video.path for video in manifest.videos] if precision == "int8" else []
    clips_BCTSS = calibration_clips(sources, classifier)
    network = make_engine([classifier], engine, precision, device, clips_BCTSS, forget=False)
    skipped = SkippedVideos(manifest, settings.max_bad_fraction)
    views = TestingViews(manifest, classifier.model.clip_shape, classifier.preprocessing)
    logits, counts, answers, done, total = list[Tensor](), list[Tensor](), list[Tensor](), 0, len(manifest.videos)
    on_progress(Progress(network, done, total, []))
    for batch, rows in run_batches(network, testing_loader(views, 1, settings), network.views):
        new = skipped.add(batch.problems)
        logits += rows
        counts.append(batch.counts_B)
        answers.append(batch.labels_B)
        done += len(batch.rows_B) + len(batch.problems)
        on_progress(Progress(network, done, total, new))
    logits_VK, counts_B, labels_B = torch.stack(logits), torch.cat(counts), torch.cat(answers)
    temperature = fit_temperature(logits_VK, counts_B, labels_B)
    if temperature is None:
        right = int((mean_scores(logits_VK, counts_B).argmax(1) == labels_B).sum())
        raise DataError(
            f"{manifest.source}: no temperature from {LOWEST:g} to {HIGHEST:g} is the best, {right} of {len(labels_B)} "
            "videos are right; expected scores that tell the classes apart, and some wrong videos"
        )
    both = (1.0, temperature)
    loss = tuple(log_loss(logits_VK / value, counts_B, labels_B) for value in both)
    error = tuple(_error(logits_VK / value, counts_B, labels_B) for value in both)
    fact = f"{temperature:.4f}, fitted on {len(labels_B)} videos of {split}"
    calibrated = with_temperature(classifier, temperature, fact)
    return Calibration(calibrated, temperature, (loss[0], loss[1]), (error[0], error[1]), len(labels_B))


def fit_temperature(logits_VK: Tensor, counts_B: Tensor, labels_B: Tensor) -> float | None:
    """The temperature with the lowest log-loss, to four digits; None where that is the lowest or the highest tried.

    logits_VK: of all views, video by video; counts_B: views of each video.
    """

    def loss(logarithm: float) -> float:
        return log_loss(logits_VK / math.exp(logarithm), counts_B, labels_B)

    low, high, steps = math.log(LOWEST), math.log(HIGHEST), 24
    tried = [low + (high - low) * step / steps for step in range(steps + 1)]
    losses = [loss(logarithm) for logarithm in tried]
    best = losses.index(min(losses))
    if best in (0, steps):
        return None
    low, high = tried[best - 1], tried[best + 1]
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def log_loss(logits_VK: Tensor, counts_B: Tensor, labels_B: Tensor) -> float:
    """The mean over the videos of -log of the score of their class."""
    scores_BK = mean_scores(logits_VK.double(), counts_B)
    return float(-scores_BK[torch.arange(len(labels_B)), labels_B].clamp_min(1e-300).log().mean())


def with_temperature(classifier: Classifier, temperature: float, fact: str) -> Classifier:
    """The same with logits that are divided by a temperature; `fact` is what its model card says of it.

    Raises SettingError for an architecture whose last layer is not linear.
    """
    model = copy.deepcopy(classifier.model)
    head = model.get_submodule(model.head_names()[-1])
    for name, parameter in list(head.named_parameters(recurse=False)):
        setattr(head, name, nn.Parameter(parameter.detach() / temperature, parameter.requires_grad))
    shape, settings = model.clip_shape, model.settings
    clip_BCTHW = torch.randn(1, 3, *shape, shape.side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before_BK, after_BK = classifier.model(clip_BCTHW), model(clip_BCTHW)
    if float((before_BK / temperature - after_BK).abs().max()) > TOLERANCE * float(before_BK.abs().max()):
        raise SettingError(f"calibrate: architecture {settings.architecture} has no linear last layer to divide")
    facts = {**classifier.facts, FACT: fact}
    return dataclasses.replace(classifier, model=model, facts=facts, reread=None)


def _error(logits_VK: Tensor, counts_B: Tensor, labels_B: Tensor) -> float:
    best = mean_scores(logits_VK, counts_B).max(1)
    one_B = torch.ones(1, len(labels_B), dtype=torch.float64)
    return float(calibration_error(best.values, best.indices == labels_B)(one_B))
