"""A model with what it needs to name what a video shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from timesformer.config import Preprocessing
from timesformer.errors import WeightsError
from timesformer.model.timesformer import TimeSformer


@dataclass(frozen=True)
class Classifier:
    """A model with all it needs to name what a video shows: preprocessing and class names, one a logit.

    `facts`: what is known of its training, such as data, recipe, scores and licence, for the model card. `reread`:
    reads the model's tensors again, where they lie in a file as they are in the model.
    """

    model: TimeSformer
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    reread: Callable[[], dict[str, Tensor]] | None = None

    def __post_init__(self) -> None:
        check_labels(self.labels, self.model.settings.num_classes, "Classifier")

    def forget(self) -> None:
        """Let go of the memory that holds the weights, where a file holds them too: what is needed of them is read
        again by the system. Changes made to them since are lost."""
        if self.reread is not None:
            self.model.load_state_dict(self.reread(), assign=True)


def check_labels(labels: Sequence[str], classes: int, source: object) -> None:
    """Raises WeightsError, naming where the labels come from, unless there is one a class."""
    if len(labels) != classes:
        raise WeightsError(f"{source}: {len(labels)} class names for a model of {classes} classes")


def load_strictly(model: TimeSformer, tensors: dict[str, Tensor], source: Path | str, *, assign: bool = False) -> None:
    """Copy tensors into a model, or with `assign` make them its own.

    Raises WeightsError naming the first few that are missing, unknown or misshapen.
    """
    expected = model.state_dict()
    missing = [name for name in expected if name not in tensors]
    unknown = [name for name in tensors if name not in expected]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    kinds = {"missing": missing, "unknown": unknown, "misshapen": misshapen}
    problems = [
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if names[3:] else ''})"
        for kind, names in kinds.items()
        if names
    ]
    if problems:
        raise WeightsError(f"{source}: tensors do not fit the model: {'; '.join(problems)}")
    model.load_state_dict(tensors, assign=assign)
