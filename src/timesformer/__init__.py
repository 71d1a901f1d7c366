"""TimeSformer: video understanding by space-time attention alone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timesformer.baselines.architectures import build_model, register_architecture
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
        WorkerError,
    )
    from timesformer.evaluation.analysis import analyse
    from timesformer.evaluation.compare import compare
    from timesformer.evaluation.details import write_details
    from timesformer.evaluation.evaluate import EvaluationResult, evaluate
    from timesformer.evaluation.interval import mean_interval
    from timesformer.evaluation.scores import score_views
    from timesformer.explain.explainer import Explainer, Explanation, load_explainer
    from timesformer.export.export import ExportedModel, export_model
    from timesformer.features.probe import probe_features
    from timesformer.features.projection import Projection, project_features
    from timesformer.features.search import search_features
    from timesformer.features.table import FeatureTable, read_feature_table
    from timesformer.folds.parts import FoldsResult
    from timesformer.folds.run import fit_folds, resume_folds
    from timesformer.inference.feature_job import FeatureJob
    from timesformer.inference.feature_query import query_features
    from timesformer.inference.jobs import PredictionJob
    from timesformer.inference.listed import list_data
    from timesformer.inference.live import LiveTimeline
    from timesformer.inference.load import load
    from timesformer.inference.predictor import Answer, Prediction, Predictor
    from timesformer.inference.segments import ScoredWindow, Segmenter
    from timesformer.inference.sources import find_sources, read_list
    from timesformer.inference.timeline import TimelineOptions, WindowRow
    from timesformer.inference.timeline_job import TimelineJob
    from timesformer.model.protocol import VideoModel
    from timesformer.model.schemes import register_step
    from timesformer.model.timesformer import TimeSformer
    from timesformer.model.tokens import Keys
    from timesformer.recipes import load_recipe
    from timesformer.report.map import WrittenMap, write_map
    from timesformer.training.fit import fit, resume
    from timesformer.training.result import FitResult
    from timesformer.video.live import LiveVideo
    from timesformer.video.source import open_video
    from timesformer.video.views import read_views, window_views
    from timesformer.weights.classifier import Classifier, load_model
    from timesformer.weights.ensemble import save_ensemble

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
    "Explainer": "explain.explainer",
    "Explanation": "explain.explainer",
    "ExportedModel": "export.export",
    "FeatureJob": "inference.feature_job",
    "FeatureTable": "features.table",
    "FitResult": "training.result",
    "FoldsResult": "folds.parts",
    "Keys": "model.tokens",
    "LiveTimeline": "inference.live",
    "LiveVideo": "video.live",
    "ModelSettings": "config",
    "Prediction": "inference.predictor",
    "PredictionJob": "inference.jobs",
    "Predictor": "inference.predictor",
    "Preprocessing": "config",
    "ProbeRecipe": "config",
    "Projection": "features.projection",
    "Recipe": "config",
    "ScoredWindow": "inference.segments",
    "Segmenter": "inference.segments",
    "SettingError": "errors",
    "TimeSformer": "model.timesformer",
    "TimeSformerSettings": "config",
    "TimelineJob": "inference.timeline_job",
    "TimelineOptions": "inference.timeline",
    "TimesformerError": "errors",
    "TrainingError": "errors",
    "VideoError": "errors",
    "VideoModel": "model.protocol",
    "WeightsError": "errors",
    "WindowRow": "inference.timeline",
    "WorkerError": "errors",
    "WrittenMap": "report.map",
    "analyse": "evaluation.analysis",
    "build_model": "baselines.architectures",
    "compare": "evaluation.compare",
    "evaluate": "evaluation.evaluate",
    "export_model": "export.export",
    "find_sources": "inference.sources",
    "fit": "training.fit",
    "fit_folds": "folds.run",
    "list_data": "inference.listed",
    "load": "inference.load",
    "load_engine": "engine.engine",
    "load_explainer": "explain.explainer",
    "load_model": "weights.classifier",
    "load_recipe": "recipes",
    "mean_interval": "evaluation.interval",
    "open_video": "video.source",
    "probe_features": "features.probe",
    "project_features": "features.projection",
    "query_features": "inference.feature_query",
    "read_feature_table": "features.table",
    "read_list": "inference.sources",
    "read_views": "video.views",
    "register_architecture": "baselines.architectures",
    "register_step": "model.schemes",
    "resume": "training.fit",
    "resume_folds": "folds.run",
    "save_ensemble": "weights.ensemble",
    "score_views": "evaluation.scores",
    "search_features": "features.search",
    "window_views": "video.views",
    "write_details": "evaluation.details",
    "write_map": "report.map",
}
__all__ = [
    "Answer",
    "Classifier",
    "ClipShape",
    "DataError",
    "Engine",
    "EngineError",
    "EvaluationResult",
    "Explainer",
    "Explanation",
    "ExportedModel",
    "FeatureJob",
    "FeatureTable",
    "FitResult",
    "FoldsResult",
    "Keys",
    "LiveTimeline",
    "LiveVideo",
    "ModelSettings",
    "Prediction",
    "PredictionJob",
    "Predictor",
    "Preprocessing",
    "ProbeRecipe",
    "Projection",
    "Recipe",
    "ScoredWindow",
    "Segmenter",
    "SettingError",
    "TimeSformer",
    "TimeSformerSettings",
    "TimelineJob",
    "TimelineOptions",
    "TimesformerError",
    "TrainingError",
    "VideoError",
    "VideoModel",
    "WeightsError",
    "WindowRow",
    "WorkerError",
    "WrittenMap",
    "__version__",
    "analyse",
    "build_model",
    "compare",
    "evaluate",
    "export_model",
    "find_sources",
    "fit",
    "fit_folds",
    "list_data",
    "load",
    "load_engine",
    "load_explainer",
    "load_model",
    "load_recipe",
    "mean_interval",
    "open_video",
    "probe_features",
    "project_features",
    "query_features",
    "read_feature_table",
    "read_list",
    "read_views",
    "register_architecture",
    "register_step",
    "resume",
    "resume_folds",
    "save_ensemble",
    "score_views",
    "search_features",
    "window_views",
    "write_details",
    "write_map",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'timesformer' has no attribute {name!r}")
    return getattr(importlib.import_module(f"timesformer.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
