"""Logistic regression against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from timesformer.features.linear import fit_logistic


def some_features(clips: int, width: int, classes: int) -> tuple[Tensor, Tensor]:
    """Classes that overlap, in channels of very unequal scale, far from zero; the last channel is constant."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(clips) % classes
    features = torch.randn(clips, width, generator=generator) + 0.7 * torch.randn(
        classes, width, generator=generator
    ).index_select(0, labels)
    features = (features + 3) * torch.logspace(-2, 2, width)
    features[:, -1] = 0.3
    return features, labels


@pytest.mark.parametrize(("clips", "width", "classes"), [(60, 100, 3), (300, 8, 5), (100, 20, 2)])
def test_probabilities_of_scikit_learn(clips: int, width: int, classes: int) -> None:
    features, labels = some_features(clips, width, classes)
    strengths = (0.1, 1.0, 0.01)
    heads = fit_logistic(features, labels, classes, strengths)
    scaled = StandardScaler().fit_transform(features.double().numpy())
    for strength, head in zip(strengths, heads, strict=True):
        reference = LogisticRegression(C=1 / (strength * clips), tol=1e-10, max_iter=5000).fit(scaled, labels.numpy())
        with torch.no_grad():
            scores = head(features).softmax(1).numpy()
        expected = reference.predict_proba(scaled)
        if classes == 2:  # scikit-learn has one vector of weights there, whose penalty is twice that of two halves
            reference = LogisticRegression(C=2 / (strength * clips), tol=1e-10, max_iter=5000)
            expected = reference.fit(scaled, labels.numpy()).predict_proba(scaled)
        np.testing.assert_allclose(scores, expected, atol=2e-3)


def test_a_class_without_clips_is_never_the_answer() -> None:
    features, labels = some_features(60, 10, 2)
    (head,) = fit_logistic(features, 2 * labels, 3, [0.1])
    with torch.no_grad():
        scores = head(features).softmax(1)
    assert float(scores[:, 1].max()) < 1e-3
    assert torch.isfinite(head.weight).all()
    assert torch.isfinite(head.bias).all()


def test_strengths_need_no_order() -> None:
    features, labels = some_features(60, 10, 3)
    many = fit_logistic(features, labels, 3, [0.1, 10.0, 1.0])
    for head, strength in zip(many, (0.1, 10.0, 1.0), strict=True):
        (alone,) = fit_logistic(features, labels, 3, [strength])
        torch.testing.assert_close(head.weight * features.std(0), alone.weight * features.std(0), atol=1e-4, rtol=1e-3)


def test_a_dimension_that_is_all_but_constant_has_no_weight() -> None:
    """What is left of it is rounding, of which a weight of standardised features would make thousands."""
    features, labels = some_features(60, 10, 2)
    generator = torch.Generator().manual_seed(1)
    features[:, 4] = 100 + 1e-3 * torch.randn(60, generator=generator)
    (head,) = fit_logistic(features, labels, 2, [1e-4])
    assert not head.weight[:, 4].any()
    others = [number for number in range(10) if number != 4]
    (expected,) = fit_logistic(features[:, others], labels, 2, [1e-4])
    with torch.no_grad():
        exact = (features.double() @ head.weight.double().T + head.bias.double()).float()
        torch.testing.assert_close(head(features), exact, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(head(features), expected(features[:, others]), atol=1e-3, rtol=1e-3)
