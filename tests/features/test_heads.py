"""Nearest neighbours against a count by hand; attentive heads against what their tokens say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from probes import separable
from timesformer.features.attentive import AttentiveHead
from timesformer.features.extract import Features
from timesformer.features.neighbours import LEAST, NearestNeighbours
from timesformer.model.pooling import AttentivePooling


def test_votes_of_neighbours_by_hand() -> None:
    """Around the centre (0, 0): the asked clip is at 0, 60 and 120 degrees to three of the four that are known."""
    half, root = 0.5, 0.75**0.5
    known = torch.tensor([[1.0, 0.0], [half, root], [-half, root], [-1.0, -2 * root]])
    training = Features(known, torch.tensor([0, 1, 1, 2]), torch.arange(4))
    asked = Features(torch.tensor([[7.0, 0.0]]), torch.tensor([0]), torch.tensor([9]))
    head = NearestNeighbours(3, (1, 2, 3, 50))
    one, two, three, all_of_them = (head.logits(fitted, asked).exp()[0] for fitted in head.fit(training))
    torch.testing.assert_close(one, torch.tensor([1.0, LEAST, LEAST]))
    near = torch.tensor([1.0, half, -half]) / 0.07
    weights = near[:2].softmax(0)
    torch.testing.assert_close(two, torch.tensor([weights[0], weights[1], LEAST]))
    weights = torch.cat([near, torch.tensor([-1 / 7**0.5 * 7**0.5 / 0.07 / (1 + 3) ** 0.5])]).softmax(0)
    assert three[0] == pytest.approx(float(near.softmax(0)[0]), abs=1e-6)
    assert all_of_them[1] == pytest.approx(float(weights[1] + weights[2]), abs=1e-4)


def test_neighbours_tell_separable_classes_apart() -> None:
    training, asked = separable(200, 0, width=4), separable(100, 1, width=4)
    for fitted in NearestNeighbours(2, (1, 5)).fit(training):
        answers = NearestNeighbours(2, (1, 5)).logits(fitted, asked).argmax(1)
        assert float((answers == asked.labels_N).float().mean()) > 0.8


def one_token_in_many(clips: int, seed: int) -> Features:
    """Of 20 tokens one, at any place, tells the class; the mean of all hardly does."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(clips) % 2
    tokens = torch.randn(clips, 20, 16, generator=generator)
    places = torch.randint(20, (clips,), generator=generator)
    tokens[torch.arange(clips), places, 0] = 6.0
    tokens[torch.arange(clips), places, 1] = 6.0 * labels - 3.0
    return Features(tokens[:, 0], labels, torch.arange(clips), tokens.to(torch.bfloat16))


def attentive(*rates: float) -> AttentiveHead:
    torch.manual_seed(0)
    return AttentiveHead(AttentivePooling(16, 2), nn.Linear(16, 2), rates, 15, 16, 0.01, seed=0)


def test_an_attentive_head_finds_the_token_that_tells() -> None:
    training, asked = one_token_in_many(150, 0), one_token_in_many(100, 1)
    head = attentive(1e-6, 1e-2)
    slow, right = (
        float((head.logits(fitted, asked).argmax(1) == asked.labels_N).float().mean()) for fitted in head.fit(training)
    )
    assert right > 0.95
    assert slow < 0.8


def test_rates_are_trained_as_if_alone() -> None:
    training = one_token_in_many(40, 2)
    both, alone = attentive(1e-3, 1e-2).fit(training)[1], attentive(1e-2).fit(training)[0]
    for name, tensor in both.state_dict().items():
        torch.testing.assert_close(tensor, alone.state_dict()[name])


def test_logits_of_an_attentive_head_are_those_of_its_modules() -> None:
    asked, head = one_token_in_many(70, 3), attentive(1e-2)
    (fitted,) = head.fit(asked)
    pooling, linear = fitted
    assert asked.tokens is not None
    with torch.no_grad():
        torch.testing.assert_close(
            head.logits(fitted, asked), linear(pooling(asked.tokens.float())), atol=1e-5, rtol=1e-4
        )
