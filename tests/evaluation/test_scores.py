"""Scores against numbers worked out by hand, of one video and of many on their way through a network together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import timesformer
from timesformer.data.dataset import Batch
from timesformer.evaluation.scores import VIEWS_AT_ONCE, mean_scores, plain_network, score_batches, score_views
from timesformer.weights.classifier import load_model


def test_mean_of_softmax_not_of_logits() -> None:
    logits = torch.tensor([[0.0, 0.0], [9.0, -9.0], [0.0, 3.0]]).log_softmax(1)
    scores = mean_scores(logits, torch.tensor([1, 2]))
    e = 2.718281828459045
    second = (1 / (1 + e**18) + e**3 / (1 + e**3)) / 2
    torch.testing.assert_close(scores, torch.tensor([[0.5, 0.5], [1 - second, second]]))


def test_scores_by_hand() -> None:
    """ln of 1, 2, 3: softmax of the logits are fractions that can be counted."""
    logits = torch.tensor([[1.0, 2, 1], [3, 1, 0.0 + 4], [1, 1, 2], [5, 3, 2]]).log()
    scores = mean_scores(logits, torch.tensor([3, 1]))
    first = [(0.25 + 0.375 + 0.25) / 3, (0.5 + 0.125 + 0.25) / 3, (0.25 + 0.5 + 0.5) / 3]
    torch.testing.assert_close(scores, torch.tensor([first, [0.5, 0.3, 0.2]]))
    torch.testing.assert_close(scores.sum(1), torch.ones(2))


def test_views_of_several_videos_go_through_the_network_together(run: Path) -> None:
    classifier = load_model(run)
    plain = plain_network(classifier.model, classifier.preprocessing)
    sizes = []

    def network(clips: torch.Tensor) -> torch.Tensor:
        sizes.append(len(clips))
        return plain(clips)

    def batch(*counts: int) -> Batch:
        views = torch.randint(0, 256, (sum(counts), 3, 4, 16, 16), dtype=torch.uint8)
        rows = torch.arange(len(counts))
        return Batch(views, torch.tensor(counts, dtype=torch.long), rows, rows, [])

    batches = [batch(1, 2 * VIEWS_AT_ONCE), batch(), batch(3), batch(2)]
    found = list(score_batches(network, batches))
    assert sizes == [VIEWS_AT_ONCE, VIEWS_AT_ONCE, 6]
    assert [given for given, _ in found] == batches
    for given, scores in found:
        if not len(given.counts_B):
            assert len(scores) == 0
            continue
        with torch.inference_mode():
            softmax = plain(given.views_VCTSS).softmax(1)
        expected = torch.stack([part.mean(0) for part in softmax.split(given.counts_B.tolist())])
        torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize("at_once", [1, 2, 5, 100])
def test_one_video_by_two_functions(run: Path, bars: Path, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a service or a cluster does: read the views, score them."""
    classifier, engine = timesformer.load_model(run), timesformer.load_engine(run, precision="fp32", device="cpu")
    monkeypatch.setattr(engine, "views", at_once)
    views = timesformer.read_views(
        bars / "test" / "left" / "0.mp4", classifier.model.clip_shape, classifier.preprocessing
    )
    assert views.shape == (3, 3, 4, 16, 16)
    for multilabel, activation in ((False, lambda logits: logits.softmax(1)), (True, torch.sigmoid)):
        with torch.inference_mode():
            expected = activation(plain_network(classifier.model, classifier.preprocessing)(views)).mean(0)
        monkeypatch.setattr(engine, "multilabel", multilabel)
        scores = score_views(engine, views)
        assert (scores.shape, scores.dtype) == ((2,), torch.float32)
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
        rows = torch.zeros(1, dtype=torch.long)
        ((_, in_batches),) = score_batches(
            engine, [Batch(views, torch.tensor([3]), rows, rows, [])], multilabel=multilabel, views=at_once
        )
        assert torch.equal(in_batches[0], scores)


def test_views_of_another_kind(run: Path) -> None:
    engine = timesformer.load_engine(run, device="cpu")
    with pytest.raises(timesformer.SettingError, match="uint8"):
        score_views(engine, torch.zeros(1, 3, 4, 16, 16))
    with pytest.raises(timesformer.SettingError, match=r"expected \(batch, 3, frames, height, width\)"):
        score_views(engine, torch.zeros(3, 4, 16, 16, dtype=torch.uint8))
    with pytest.raises(timesformer.SettingError, match=r"^clips: ndarray; expected a torch.Tensor"):
        score_views(engine, np.zeros((1, 3, 4, 16, 16), np.uint8))  # type: ignore[arg-type]
    with pytest.raises(timesformer.SettingError, match=r"^clips of shape \(0, 3, 4, 16, 16\): expected \(batch, 3, "):
        score_views(engine, torch.zeros(0, 3, 4, 16, 16, dtype=torch.uint8))
