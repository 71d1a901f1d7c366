"""The features of a probe: computed once, and kept in RUN/features/SPLIT.safetensors."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from timesformer.data.dataset import TestingViews
from timesformer.data.manifest import Manifest
from timesformer.device import find_device
from timesformer.engine.engine import Engine, load_engine
from timesformer.evaluation.calibration import calibration_clips
from timesformer.features.extract import Features
from timesformer.features.store import describe_origin, read_notes, select_features, write_features
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
        file, shared = self._file(manifest), self.plan.shared
        # int8 is calibrated on the videos of a fold alone, since others are held out of it.
        if shared and manifest.split == "train" and not file.exists() and self.plan.recipe.probe.precision != "int8":
            self._kept(shared.training, shared.file)
            features = select_features(shared.file, shared.training, manifest)
            notes = {"facts": self.plan.facts, "precision": read_notes(shared.file)["precision"]}
            write_features(features, manifest, file, {"origin": self._views_origin(manifest)[1], **notes})
        return self._kept(manifest, file)

    def _kept(self, manifest: Manifest, file: Path) -> Features:
        views, origin = self._views_origin(manifest)
        data, facts = self.plan.recipe.data, self.plan.facts
        return kept_features(views, file, origin, lambda: self.engine, data, self.log, facts=facts)

    def _views_origin(self, manifest: Manifest) -> tuple[TestingViews, dict[str, Any]]:
        model = self.classifier.model
        views = TestingViews(manifest, model.clip_shape, self.classifier.preprocessing)
        return views, describe_origin(model, views, self.plan.recipe.probe.precision, tokens=self.tokens)

    def precision(self, manifest: Manifest) -> str:
        """That of the engine which computed the features in the file: never "auto"."""
        precision: str = read_notes(self._file(manifest))["precision"]
        return precision

    def _file(self, manifest: Manifest) -> Path:
        return self.plan.out / "features" / f"{manifest.split}.safetensors"
