"""TimeSformer: video understanding by space-time attention alone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timesformer.errors import DataError, EngineError, SettingError, TimesformerError, VideoError, WeightsError
    from timesformer.inference.engine import Engine, load_engine
    from timesformer.inference.predictor import Answer, Prediction, Predictor, load
    from timesformer.model.timesformer import TimeSformer

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "DataError",
    "Engine",
    "EngineError",
    "Prediction",
    "Predictor",
    "SettingError",
    "TimeSformer",
    "TimesformerError",
    "VideoError",
    "WeightsError",
    "__version__",
    "load",
    "load_engine",
]

# Imported on first use: torch takes seconds, `timesformer --help` must not.
_HOMES = {
    "Answer": "inference.predictor",
    "DataError": "errors",
    "Engine": "inference.engine",
    "EngineError": "errors",
    "Prediction": "inference.predictor",
    "Predictor": "inference.predictor",
    "SettingError": "errors",
    "TimeSformer": "model.timesformer",
    "TimesformerError": "errors",
    "VideoError": "errors",
    "WeightsError": "errors",
    "load": "inference.predictor",
    "load_engine": "inference.engine",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'timesformer' has no attribute {name!r}")
    return getattr(importlib.import_module(f"timesformer.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
