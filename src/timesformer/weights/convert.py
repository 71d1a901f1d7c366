"""Weights in another layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from timesformer.errors import SettingError, WeightsError
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.description import Contents
from timesformer.weights.huggingface import save_huggingface
from timesformer.weights.mmaction2 import save_mmaction2
from timesformer.weights.native import save_native
from timesformer.weights.official import save_official
from timesformer.weights.pytorchvideo import save_pyslowfast, save_pytorchvideo
from timesformer.weights.videomae import is_expressible, save_videomae

Layout = Literal["native", "official", "mmaction2", "huggingface", "pytorchvideo", "pyslowfast"]


def convert(
    weights: str | Path, out: str | Path, layout: str, *, labels: str | Path | None = None, heads: int | None = None
) -> Classifier:
    """Read weights as `timesformer.load_model` does and write them as `save_as` does; returns what was written.

    What is asked for is checked before anything is read.
    """
    check_target(Path(out), layout)
    classifier = load_model(weights, labels=labels, heads=heads)
    save_as(classifier, out, layout)
    return classifier


def save_as(classifier: Classifier, out: str | Path, layout: str) -> Path:
    """Write to OUT, a new folder (native, huggingface) or file (the others); returns it.

    Raises WeightsError for a model that the layout cannot express and for OUT that exists or cannot be written,
    SettingError for a layout that is none; nothing is left behind then.
    """
    out = Path(out)
    check_target(out, layout)
    writers: dict[str, Callable[[Contents, Path], None]] = {
        "native": save_native,
        "official": save_official,
        "mmaction2": save_mmaction2,
        "pytorchvideo": save_pytorchvideo,
        "pyslowfast": save_pyslowfast,
        "huggingface": save_videomae if is_expressible(classifier.model.settings) else save_huggingface,
    }
    writers[layout](classifier.contents(), out)
    return out


def check_target(out: Path, layout: str) -> None:
    if layout not in get_args(Layout):
        raise SettingError(f"layout {layout!r}: expected {', '.join(get_args(Layout))}")
    if out.exists():
        raise WeightsError(f"{out}: exists already; name a new file or folder")
