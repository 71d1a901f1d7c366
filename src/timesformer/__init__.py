"""TimeSformer: video understanding by space-time attention alone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timesformer.config import ClipShape, ModelSettings, Preprocessing, ProbeRecipe, Recipe, TimeSformerSettings
    from timesformer.engine.engine import Engine, load_engine
    from timesformer.errors import (
        DataError,
        EngineError,
        SettingError,
        TimesformerError,
        TrainingError,
        VideoError,
        WeightsError,
    )
    from timesformer.evaluation.evaluate import EvaluationResult, evaluate
    from timesformer.evaluation.scores import score_views
    from timesformer.inference.predictor import Answer, Prediction, Predictor, load
    from timesformer.model.architectures import build_model, register_architecture
    from timesformer.model.protocol import VideoModel
    from timesformer.model.schemes import register_step
    from timesformer.model.timesformer import TimeSformer
    from timesformer.model.tokens import Keys
    from timesformer.recipes import load_recipe
    from timesformer.training.fit import fit
    from timesformer.training.result import FitResult
    from timesformer.video.source import open_video
    from timesformer.video.views import read_views
    from timesformer.weights.classifier import Classifier, load_model

__version__ = "0.2.0.dev0"

# Where each public name comes from. Imported on first use: torch takes seconds, `timesformer --help` must not.
_HOMES = {
    "Answer": "inference.predictor",
    "Classifier": "weights.classifier",
    "ClipShape": "config",
    "DataError": "errors",
    "Engine": "engine.engine",
    "EngineError": "errors",
    "EvaluationResult": "evaluation.evaluate",
    "FitResult": "training.result",
    "Keys": "model.tokens",
    "ModelSettings": "config",
    "Prediction": "inference.predictor",
    "Predictor": "inference.predictor",
    "Preprocessing": "config",
    "ProbeRecipe": "config",
    "Recipe": "config",
    "SettingError": "errors",
    "TimeSformer": "model.timesformer",
    "TimeSformerSettings": "config",
    "TimesformerError": "errors",
    "TrainingError": "errors",
    "VideoError": "errors",
    "VideoModel": "model.protocol",
    "WeightsError": "errors",
    "build_model": "model.architectures",
    "evaluate": "evaluation.evaluate",
    "fit": "training.fit",
    "load": "inference.predictor",
    "load_engine": "engine.engine",
    "load_model": "weights.classifier",
    "load_recipe": "recipes",
    "open_video": "video.source",
    "read_views": "video.views",
    "register_architecture": "model.architectures",
    "register_step": "model.schemes",
    "score_views": "evaluation.scores",
}
__all__ = [
    "Answer",
    "Classifier",
    "ClipShape",
    "DataError",
    "Engine",
    "EngineError",
    "EvaluationResult",
    "FitResult",
    "Keys",
    "ModelSettings",
    "Prediction",
    "Predictor",
    "Preprocessing",
    "ProbeRecipe",
    "Recipe",
    "SettingError",
    "TimeSformer",
    "TimeSformerSettings",
    "TimesformerError",
    "TrainingError",
    "VideoError",
    "VideoModel",
    "WeightsError",
    "__version__",
    "build_model",
    "evaluate",
    "fit",
    "load",
    "load_engine",
    "load_model",
    "load_recipe",
    "open_video",
    "read_views",
    "register_architecture",
    "register_step",
    "score_views",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'timesformer' has no attribute {name!r}")
    return getattr(importlib.import_module(f"timesformer.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
