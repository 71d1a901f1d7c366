"""A floor of runs that start from other weights: a linear probe on the features of the weights before the first step.

It costs a pass of an engine over the videos. RUN/features keeps the features, for a resumed run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from timesformer.data.dataset import SkippedVideos, TestingViews
from timesformer.data.manifest import Manifest
from timesformer.device import find_device
from timesformer.engine.engine import Engine, load_engine
from timesformer.errors import TimesformerError
from timesformer.features.extract import Features
from timesformer.features.probe import fit_linear
from timesformer.features.store import describe_origin
from timesformer.training.extraction import kept_features
from timesformer.training.floors import Floor
from timesformer.training.log import Log
from timesformer.training.plan import TrainingPlan, single_view

MOST_VIDEOS = 2000  # of either split: on more training videos, a fine-tuned network is above a probe


def probe_floor(plan: TrainingPlan, log: Log) -> Floor | None:
    """The score of a linear probe on the videos that the run is validated on; None where there is none, with a note
    that says why: it never stops a run.

    Its regularisation is chosen inside the training split, in folds of whole groups where the recipe names them.
    """
    recipe, training, validation = plan.recipe, plan.training, plan.validation
    if not recipe.training.probe_floor or not plan.initialised.from_weights or validation is None:
        return None
    if training.multilabel:
        log.say("note    no probe floor: a probe needs data with one class a video")
        return None
    for what, manifest in (("training", training), ("validation", validation)):
        if (count := len(manifest.videos)) > MOST_VIDEOS:
            log.say(f"note    no probe floor: {count} {what} videos; at most {MOST_VIDEOS} are probed")
            return None
    groups = training.groups(recipe.data.group)
    try:
        with torch.random.fork_rng():  # a run with this floor is the same run
            device = str(find_device(recipe.training.device))
            engine = functools.cache(functools.partial(load_engine, plan.initialised.classifier, device=device))
            skipped = plan.skipped_videos()
            train, held = (
                _features(plan, manifest, counted, engine, log)
                for manifest, counted in ((training, skipped[0]), (validation, skipped[-1]))
            )
            probe = fit_linear(train, len(training.labels), groups=groups, seed=recipe.seed)
    except TimesformerError as error:  # too few videos or groups to choose with, or too few that can be read
        log.say(f"note    no probe floor: {error}")
        return None
    return Floor("probe", "linear probe on the initial weights", validation.split, probe.score(held).known())


def _features(
    plan: TrainingPlan, manifest: Manifest, skipped: SkippedVideos, make_engine: Callable[[], Engine], log: Log
) -> Features:
    """Of one view of each video. What cannot be read is said by the training that follows."""
    classifier = plan.initialised.classifier
    views = TestingViews(manifest, classifier.model.clip_shape, single_view(classifier.preprocessing))
    file = plan.out / "features" / f"{'train' if manifest is plan.training else 'validation'}.safetensors"
    origin = describe_origin(classifier.model, views, "auto")
    return kept_features(views, file, origin, make_engine, plan.recipe.data, log, facts=plan.facts, skipped=skipped)
