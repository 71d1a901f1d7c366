"""The models of a service, by name."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timesformer.config.explain import Explain
from timesformer.engine.engine import EngineName, Precision
from timesformer.errors import SettingError
from timesformer.explain.explainer import Explainer
from timesformer.explain.occlusion import parts_of
from timesformer.inference.load import load_members
from timesformer.inference.predictor import Predictor
from timesformer.serve.batching import Batcher
from timesformer.serve.job import Job
from timesformer.serve.problems import Problem

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
GENERIC = ("model", "checkpoint")  # names of folders that say nothing: the one above has the name


@dataclass(frozen=True)
class ServedModel:
    """Weights that are ready. explainer: None for an ensemble, which cannot be explained as one."""

    name: str
    predictor: Predictor
    explainer: Explainer | None
    batcher: Batcher

    def predictor_for(self, job: Job) -> Predictor:
        """The predictor, whose engine is shared with other jobs and stops with this one."""
        return self.predictor.with_engine(self.batcher.engine_for(job))

    def explainer_for(self, job: Job) -> Explainer:
        """The explainer, likewise. Raises Problem for an ensemble."""
        if self.explainer is None:
            raise Problem("not_supported", "an ensemble cannot be explained; its members can, one by one")
        return self.explainer.with_engine(self.batcher.engine_for(job))

    @property
    def views(self) -> int:
        """Clips that a video has at least; as many as it is long with sampling `cover`."""
        preprocessing = self.predictor.preprocessing
        return preprocessing.test_clips * preprocessing.test_crops

    def reserve_more(self, clips: int, most: int | None = None) -> AbstractContextManager[None]:
        """Room in the queue for a request that is now known to have so many clips; `views` are reserved for it already.
        most: of these, where others go in between. Raises Problem where there is none."""
        more = clips if most is None else min(clips, most)
        return self.batcher.reserve(max(more - self.views, 0), held=self.views)

    def runs(self, settings: Explain, views: int) -> int:
        """Clips that an explanation of a video of so many views takes."""
        hidden = math.prod(parts_of(self.predictor.settings)) if settings.method == "occlusion" else 0
        return views * (1 + hidden)

    def as_dict(self) -> dict[str, Any]:
        """What clients are told of it."""
        predictor = self.predictor
        settings, engine = predictor.settings, predictor.engine
        scheme = getattr(settings, "scheme", None)
        return {
            "name": self.name,
            "architecture": settings.architecture,
            "scheme": scheme if scheme is None or isinstance(scheme, str) else ",".join(scheme),
            "classes": len(predictor.labels),
            "labels": list(predictor.labels),
            "frames": settings.clip_shape.frames,
            "side": settings.clip_shape.side,
            "engine": engine.engine,
            "precision": engine.precision,
        }


def name_weights(given: Sequence[str]) -> dict[str, str]:
    """Weights by name: NAME=WEIGHTS as it says, others by the name of their folder or file.

    Raises SettingError for none, and for two of one name.
    """
    named: dict[str, str] = {}
    for text in given:
        name, equals, weights = text.partition("=")
        if not equals or not NAME.fullmatch(name) or not weights or Path(text).exists():
            name, weights = _name_of(text), text
        if name in named:
            raise SettingError(f"{text}: a second model named {name}; give each a name of its own, NAME=WEIGHTS")
        named[name] = weights
    if not named:
        raise SettingError("weights: none; expected at least one WEIGHTS or NAME=WEIGHTS")
    return named


def _name_of(weights: str) -> str:
    path = Path(weights)
    absolute = path.resolve() if path.exists() else path
    if absolute.name in GENERIC and absolute.parent.name:
        return absolute.parent.name
    return absolute.stem if absolute.is_file() else absolute.name or weights


def load_models(
    named: dict[str, str],
    *,
    device: str = "auto",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    queue_clips: int = 256,
) -> dict[str, ServedModel]:
    """Each as `timesformer.load` gives it, with its errors; the first one is the default."""
    models = {}
    for name, weights in named.items():
        members, predictor = load_members(weights, device, engine=engine, precision=precision)
        explainer = Explainer(members[0], predictor.engine) if len(members) == 1 else None
        models[name] = ServedModel(name, predictor, explainer, Batcher(predictor.engine, queue_clips))
    return models
