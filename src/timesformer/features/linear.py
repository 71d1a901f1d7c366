"""Logistic regression on features: convex, so that nothing but the strength of its regularisation is to be chosen.

Dimensions: N clips, D channels, K classes, R dimensions of what the clips span.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.features.extract import Features

ITERATIONS = 500
LEAST = 1e-4  # deviation of a dimension over its mean: below, its weight times its mean is beyond float32's digits
FREE = 1e-6  # of the bias, just enough that a class without a clip has a finite one


@dataclass(frozen=True)
class LinearHead:
    """A linear layer. values: strengths of its regularisation, as `fit_logistic` has them."""

    classes: int
    values: tuple[float, ...]
    name: ClassVar[str] = "linear"
    setting: ClassVar[str] = "l2"

    def fit(self, training: Features) -> list[nn.Linear]:
        """A layer for each strength."""
        return fit_logistic(training.features, training.labels_N, self.classes, self.values)

    def logits(self, fitted: nn.Linear, features: Features) -> Tensor:
        """Logits (N, K)."""
        with torch.no_grad():
            logits_NK: Tensor = fitted(features.features)
        return logits_NK


def fit_logistic(features_ND: Tensor, labels_N: Tensor, classes: int, strengths: Sequence[float]) -> list[nn.Linear]:
    """A linear head for each strength: float32, of features as they are.

    It minimises the mean cross-entropy plus strength / 2 x the squared norm of the weights, those of standardised
    features, by L-BFGS in float64. Every strength begins with the weights of the next stronger one.
    """
    features_ND = features_ND.double()
    std_D, mean_D = torch.std_mean(features_ND, dim=0, correction=0)
    # One that is all but constant says nothing; a weight that makes much of it would make much of any change, too.
    std_D = torch.where(std_D > LEAST * mean_D.abs().clamp_min(1e-6), std_D, torch.inf)
    x_ND = (features_ND - mean_D) / std_D
    # Weights outside of what the clips span would only cost: with fewer clips than channels there are fewer to find.
    basis_DR = torch.linalg.qr(x_ND.T)[0] if x_ND.shape[0] < x_ND.shape[1] else None
    x_NR = x_ND if basis_DR is None else x_ND @ basis_DR
    weight_KR = torch.zeros(classes, x_NR.shape[1], dtype=torch.float64, requires_grad=True)
    bias_K = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    heads: dict[float, nn.Linear] = {}
    for strength in sorted(set(strengths), reverse=True):
        _minimise(weight_KR, bias_K, x_NR, labels_N, strength)
        with torch.no_grad():
            weight_KD = (weight_KR if basis_DR is None else weight_KR @ basis_DR.T) / std_D
            head = nn.Linear(len(std_D), classes)
            head.weight.copy_(weight_KD)
            head.bias.copy_(bias_K - weight_KD @ mean_D)
        heads[strength] = head
    return [heads[strength] for strength in strengths]


def _minimise(weight_KR: Tensor, bias_K: Tensor, x_NR: Tensor, labels_N: Tensor, strength: float) -> None:
    optimizer = torch.optim.LBFGS(
        [weight_KR, bias_K],
        max_iter=ITERATIONS,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        penalty = strength / 2 * weight_KR.square().sum() + FREE / 2 * bias_K.square().sum()
        value = F.cross_entropy(x_NR @ weight_KR.T + bias_K, labels_N) + penalty
        value.backward()
        return value

    optimizer.step(loss)
