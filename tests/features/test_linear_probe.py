"""A linear probe: its strength is chosen on videos that it was not fitted to, groups whole."""

from __future__ import annotations

import pytest
import torch

from timesformer.errors import DataError
from timesformer.features.choice import best_value
from timesformer.features.cross_validation import fold_of_clips
from timesformer.features.extract import Features
from timesformer.features.linear import LinearHead


def of_sources(sources: int, of_each: int, seed: int) -> tuple[Features, list[int]]:
    """Clips that look like their source, whose class says little: 40 channels of the source, one of the class."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(sources).repeat_interleave(of_each)
    labels = torch.randint(2, (sources,), generator=generator)[group]
    features = torch.randn(sources, 40, generator=generator)[group] + 0.1 * torch.randn(
        sources * of_each, 40, generator=generator
    )
    features[:, 0] += labels
    return Features(features, labels, torch.arange(len(labels))), group.tolist()


def test_folds_keep_groups_whole() -> None:
    features, groups = of_sources(12, 5, 0)
    folds = fold_of_clips(features, groups, 4, 0)
    assert set(folds.tolist()) == {0, 1, 2, 3}
    for group in range(12):
        assert len(folds[torch.tensor(groups) == group].unique()) == 1
    views = Features(features.features, features.labels_N, torch.arange(60) // 3)
    for fold in fold_of_clips(views, range(20), 5, 0).unflatten(0, (20, 3)):
        assert len(fold.unique()) == 1
    with pytest.raises(
        DataError, match="cross-validation: found videos of 1 group; it needs at least 2 that can be read"
    ):
        fold_of_clips(features, [0] * 60, 5, 0)


def test_groups_ask_for_a_stronger_regularisation() -> None:
    """Where clips of one source are on both sides, a head that knows sources looks best."""
    training, groups = of_sources(20, 10, 1)
    head = LinearHead(2, (1e-4, 1e-2, 1.0))
    assert best_value(head, training, range(200), 5, 0).value == 1e-4
    assert best_value(head, training, groups, 5, 0).value == 1.0


def test_scores_are_means_over_the_clips_of_a_video() -> None:
    training, _ = of_sources(30, 4, 2)
    head = LinearHead(2, (0.1,))
    (layer,) = head.fit(training)
    views = Features(training.features[:6], torch.tensor([0, 0, 1, 1, 1, 0]), torch.tensor([3, 3, 5, 5, 5, 9]))
    scores = views.scores(head.logits(layer, views))
    assert views.of_videos(views.labels_N).tolist() == [0, 1, 0]
    with torch.no_grad():
        softmax = layer(views.features).softmax(1)
    expected = torch.stack([softmax[:2].mean(0), softmax[2:5].mean(0), softmax[5]])
    torch.testing.assert_close(scores, expected)
