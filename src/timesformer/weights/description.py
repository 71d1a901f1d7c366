"""What files of weights say beside the tensors: the settings of the model, how videos are prepared for it, its classes.

As config.json, and inside the files of other layouts that this package writes:

    {"format": "timesformer", "version": 2, "model": {...}, "preprocessing": {...}, "labels": [...], "facts": {...}}

Version 1 had no "architecture" in "model", which was always a TimeSformer's. `facts` is what is known of the training,
as the model card (README.md) has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from timesformer.config import ModelSettings, Preprocessing
from timesformer.errors import SettingError, WeightsError
from timesformer.weights.names import settings_from

FORMAT, VERSION = "timesformer", 2
ENSEMBLE = "timesformer-ensemble"  # the format of several classifiers that count as one


class Contents(NamedTuple):
    """What weights of any layout hold, with tensors under our names.

    labels: class names, one a logit. reread: reads the tensors again, where they are a file's, mapped into memory.
    """

    settings: ModelSettings
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    facts: Mapping[str, str]
    tensors: dict[str, Tensor]
    reread: Callable[[], dict[str, Tensor]] | None = None


def describe(contents: Contents) -> dict[str, Any]:
    """All of it but the tensors, as plain values."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": contents.settings.model_dump(mode="json"),
        "preprocessing": contents.preprocessing.model_dump(mode="json"),
        "labels": list(contents.labels),
        "facts": dict(contents.facts),
    }


def is_description(values: Mapping[str, Any]) -> bool:
    """Whether values, such as a config.json's, are what `describe` wrote."""
    return values.get("format") == FORMAT


def is_ensemble(values: Mapping[str, Any]) -> bool:
    """Whether a config.json's values are those of an ensemble, see `timesformer.weights.ensemble`."""
    return values.get("format") == ENSEMBLE


def read_description(values: object, source: Path, tensors: dict[str, Tensor]) -> Contents | None:
    """What `describe` wrote, with tensors; None for None. Raises WeightsError for what is missing or not allowed."""
    if values is None:
        return None
    if not isinstance(values, dict) or not is_description(values):
        raise WeightsError(f'{source}: not a configuration of this package (no "format": "{FORMAT}")')
    if values.get("version") not in (1, VERSION):
        raise WeightsError(f"{source}: version {values.get('version')!r}; this package reads versions 1 and {VERSION}")
    try:
        found = Contents(
            settings_from(ModelSettings.class_for(values["model"]), values["model"], f"{source}: model"),
            settings_from(Preprocessing, values["preprocessing"], f"{source}: preprocessing"),
            tuple(str(name) for name in values["labels"]),
            {str(name): str(value) for name, value in dict(values.get("facts", {})).items()},
            tensors,
        )
    except SettingError as error:
        raise WeightsError(f"{source}: model: {error}; timesformer.register_architecture adds one") from None
    except KeyError as error:
        raise WeightsError(f"{source}: has no {error.args[0]!r}; expected model, preprocessing and labels") from None
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{source}: labels or facts cannot be read: {error}") from None
    check_labels(found.labels, found.settings.num_classes, source)
    return found


def check_labels(labels: Sequence[str], classes: int, source: object) -> None:
    """Raises WeightsError, naming where the labels come from, unless there is one a class."""
    if len(labels) != classes:
        raise WeightsError(f"{source}: {len(labels)} class names for a model of {classes} classes")
