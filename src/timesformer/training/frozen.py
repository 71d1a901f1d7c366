"""The features of a probe: computed once, and kept in RUN/features/SPLIT.safetensors."""

from __future__ import annotations

import functools
from pathlib import Path

from timesformer.data.dataset import TestingViews
from timesformer.data.manifest import Manifest
from timesformer.device import find_device
from timesformer.engine.engine import Engine, load_engine
from timesformer.evaluation.calibration import calibration_clips
from timesformer.features.extract import Features
from timesformer.features.store import describe_origin, read_notes
from timesformer.training.extraction import kept_features
from timesformer.training.log import Log
from timesformer.training.plan import ProbePlan


class FrozenFeatures:
    """Features of the splits of a plan; an engine is made when some must be computed."""

    def __init__(self, plan: ProbePlan, log: Log) -> None:
        self.plan, self.log, self.classifier = plan, log, plan.initialised.classifier
        self.tokens = "attentive" in plan.recipe.probe.heads

    @functools.cached_property
    def engine(self) -> Engine:
        """int8 is calibrated on training videos."""
        probe = self.plan.recipe.probe
        videos = [video.path for video in self.plan.training.videos] if probe.precision == "int8" else []
        clips = calibration_clips(videos, self.classifier)
        engine = load_engine(
            self.classifier, precision=probe.precision, device=str(find_device(probe.device)), clips=clips
        )
        self.log.say(str(engine))
        return engine

    def of(self, manifest: Manifest) -> Features:
        """From the file, where that has what is wanted; computed anew, and kept, otherwise."""
        model, file = self.classifier.model, self._file(manifest)
        views = TestingViews(manifest, model.clip_shape, self.classifier.preprocessing)
        origin = describe_origin(model, views, self.plan.recipe.probe.precision, tokens=self.tokens)
        return kept_features(
            views, file, origin, lambda: self.engine, self.plan.recipe.data, self.log, facts=self.plan.facts
        )

    def precision(self, manifest: Manifest) -> str:
        """That of the engine which computed the features in the file: never "auto"."""
        precision: str = read_notes(self._file(manifest))["precision"]
        return precision

    def _file(self, manifest: Manifest) -> Path:
        return self.plan.out / "features" / f"{manifest.split}.safetensors"
