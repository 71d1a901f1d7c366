"""A linear probe on the weights of --init, before the first step: a floor of the run (`training.probe_floor`), and the
head that it starts with (`training.initial_head`), as Kumar et al. (ICLR 2022) fine-tune.

It costs a pass of an engine over the videos. RUN/features keeps the features, for a resumed run.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from timesformer.config import Probe
from timesformer.data.dataset import SkippedVideos, TestingViews
from timesformer.data.manifest import Manifest
from timesformer.device import find_device
from timesformer.engine.engine import Engine, load_engine
from timesformer.errors import TimesformerError
from timesformer.evaluation.metrics import measure
from timesformer.features.choice import best_value
from timesformer.features.extract import Features
from timesformer.features.linear import LinearHead
from timesformer.features.store import describe_origin
from timesformer.training.extraction import kept_features
from timesformer.training.floors import Floor
from timesformer.training.heads import with_head
from timesformer.training.log import Log
from timesformer.training.plan import TrainingPlan, single_view
from timesformer.training.videos import MOST_PROBED


class InitialProbe(NamedTuple):
    """A linear layer on the features of the initial weights, the strength of its regularisation, and its score on the
    videos that the run is validated on, where that was asked for."""

    layer: nn.Linear
    strength: float
    floor: Floor | None


def fit_initial_probe(plan: TrainingPlan, log: Log) -> InitialProbe | None:
    """The probe that a run needs, for its floors or as its head; None where it needs none.

    Its regularisation is chosen inside the training split, in folds of whole groups where the recipe names them. A
    floor that cannot be had never stops a run: a note says why. Raises DataError, WorkerError and EngineError where the
    head cannot be had.
    """
    recipe, training = plan.recipe, plan.training
    held_against = _floor_videos(plan, log)
    if held_against is None and not plan.starts_from_probe:
        return None
    groups, device = training.groups(recipe.data.group), str(find_device(recipe.training.device))
    engine = functools.cache(functools.partial(load_engine, plan.initialised.classifier, device=device))
    skipped = plan.skipped_videos()
    head = LinearHead(len(training.labels), Probe().l2)
    try:
        with torch.random.fork_rng():  # a run with this floor is the same run
            features = _features(plan, training, skipped[0], engine, log)
            held = None if held_against is None else _features(plan, held_against, skipped[-1], engine, log)
            best = best_value(head, features, groups, Probe().folds, recipe.seed)
            layer = head.fit(features)[best.number]
    except TimesformerError as error:  # too few videos or groups to choose with, or too few that can be read
        if plan.starts_from_probe:
            raise
        log.say(f"note    no probe floor: {error}")
        return None
    floor = None
    if held is not None and held_against is not None:
        scores_BK = held.scores(head.logits(layer, held))
        metrics = measure(scores_BK, held.of_videos(held.labels_N))
        floor = Floor("probe", "linear probe on the initial weights", held_against.split, metrics.known())
    return InitialProbe(layer, best.value, floor)


def start_from(probe: InitialProbe, plan: TrainingPlan, log: Log) -> TrainingPlan:
    """The plan of a run whose network has this head. The first process alone needs it: the others take its weights."""
    head = LinearHead(len(plan.training.labels), (probe.strength,))
    classifier = with_head(plan.initialised.classifier, head, probe.layer)
    log.say(f"head    starts as the linear probe on the initial weights, l2 {probe.strength:g}")
    return dataclasses.replace(plan, initialised=plan.initialised._replace(classifier=classifier))


def _floor_videos(plan: TrainingPlan, log: Log) -> Manifest | None:
    """The videos that a probe is scored on, to hold the run against it; a note says why there are none."""
    training, validation = plan.training, plan.validation
    if not plan.recipe.training.probe_floor or not plan.initialised.from_weights or validation is None:
        return None
    if training.multilabel:
        log.say("note    no probe floor: a probe needs data with one class a video")
        return None
    for what, manifest in (("training", training), ("validation", validation)):
        if (count := len(manifest.videos)) > MOST_PROBED:
            log.say(f"note    no probe floor: {count} {what} videos; at most {MOST_PROBED} are probed")
            return None
    return validation


def _features(
    plan: TrainingPlan, manifest: Manifest, skipped: SkippedVideos, make_engine: Callable[[], Engine], log: Log
) -> Features:
    """Of one view of each video. What cannot be read is said by the training that follows."""
    classifier = plan.initialised.classifier
    views = TestingViews(manifest, classifier.model.clip_shape, single_view(classifier.preprocessing))
    file = plan.out / "features" / f"{'train' if manifest is plan.training else 'validation'}.safetensors"
    origin = describe_origin(classifier.model, views, "auto")
    return kept_features(views, file, origin, make_engine, plan.recipe.data, log, facts=plan.facts, skipped=skipped)
