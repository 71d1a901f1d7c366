"""A kind of head on frozen features, as `timesformer.features.cross_validation` tries it.

Dimensions: N clips, K classes.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from timesformer.features.extract import Features


class Head(Protocol):
    """A kind of head, with several values of its one setting, which are tried at once.

    Attributes: `name`; `setting`: what the values are of; `values`.
    """

    @property
    def name(self) -> str: ...
    @property
    def setting(self) -> str: ...
    @property
    def values(self) -> tuple[float, ...]: ...

    def fit(self, training: Features) -> list[Any]:
        """A fitted head for each value."""

    def logits(self, fitted: Any, features: Features) -> Tensor:
        """What a fitted head says of clips: float32 (N, K); their softmax is the score of a class."""
