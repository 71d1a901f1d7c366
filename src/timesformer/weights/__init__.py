"""Weights, wherever they come from, as a classifier."""

from __future__ import annotations

from pathlib import Path

from timesformer.errors import WeightsError
from timesformer.weights.native import Classifier, load_native

__all__ = ["Classifier", "open_weights"]


def open_weights(weights: str | Path) -> Classifier:
    """The classifier that WEIGHTS names: a folder of this package's weights, or the folder of a training run.

    Raises WeightsError, in one line, for anything else.
    """
    path = Path(weights)
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return load_native(folder)
    if not path.exists():
        raise WeightsError(f"{weights}: no such file or folder")
    raise WeightsError(f"{weights}: holds no weights; expected config.json and model.safetensors in it or in its "
                       "folder model/ (a run that has not ended its first epoch has none yet)")  # fmt: skip
