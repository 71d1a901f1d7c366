"""Occlusion, deletion and insertion, of an engine whose score is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from timesformer.config import TimeSformerSettings
from timesformer.explain.faithfulness import RANDOM, STEPS, centre_prior, faithfulness, runs
from timesformer.explain.masks import hide
from timesformer.explain.occlusion import occlusion, parts_of


class Bright:
    """The logit of class 1 is the mean brightness of one cell, the right one of the lower row in frame 2; of class 0,
    none."""

    views, multilabel = 3, False

    def __call__(self, clips: Tensor) -> Tensor:
        self.most = max(getattr(self, "most", 0), len(clips))
        logit = clips[:, :, 2, 8:, 8:].float().mean((1, 2, 3)) / 40
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def views() -> Tensor:
    """Dark, but for that cell."""
    clips = torch.zeros(2, 3, 4, 16, 16, dtype=torch.uint8)
    clips[:, :, 2, 8:, 8:] = 240
    return clips


def test_what_is_hidden_has_the_mean_colour() -> None:
    clip = views()[0]
    masks = torch.zeros(2, 2, 2, 2, dtype=torch.bool)
    masks[1, 1, 1, 1] = True  # frames 2 and 3
    whole, part = hide(clip, masks)
    assert torch.equal(whole, clip)
    assert part[:, 2:, 8:, 8:].unique().tolist() == [15]  # 240 / 16
    assert not part[:, :2].any()


def test_occlusion_finds_the_cell_that_decides() -> None:
    engine, told = Bright(), []
    found = occlusion(engine, views(), 1, (4, 2, 2), told.append)  # type: ignore[arg-type]
    expected = torch.zeros(2, 4, 2, 2)
    expected[:, 2, 1, 1] = -math.log1p(math.exp(-6)) + math.log1p(math.exp(-15 / 40))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert engine.most <= engine.views
    assert sum(told) == 2 * 16


def test_parts_are_of_patches() -> None:
    assert parts_of(TimeSformerSettings()) == (8, 7, 7)
    assert parts_of(TimeSformerSettings(num_frames=16, image_size=448)) == (16, 7, 7)
    assert parts_of(TimeSformerSettings(num_frames=8, image_size=32, patch_size=8)) == (8, 4, 4)


def test_areas_are_those_of_the_curves() -> None:
    """The cell that decides is hidden first of all, so the curve falls at once; or shown first."""
    told: list[int] = []
    cells = torch.zeros(2, 4, 2, 2)
    cells[:, 2, 1, 1] = 1
    found = faithfulness(Bright(), views(), cells, 1, told.append)  # type: ignore[arg-type]
    whole, hidden = (1 / (1 + math.exp(-logit)) for logit in (6, 15 / 40))
    assert found.map.deletion == pytest.approx(((whole + hidden) / 2 + (STEPS - 1) * hidden) / STEPS, abs=1e-5)
    assert found.map.insertion == pytest.approx(((whole + hidden) / 2 + (STEPS - 1) * whole) / STEPS, abs=1e-5)
    assert len(found.random) == RANDOM
    assert sum(told) == runs(2)
    for name in ("deletion", "insertion"):
        gain, (low, high) = found.gain(name)
        assert 0 < low < gain < high
    row = found.as_dict()["deletion"]
    assert row["map"] < row["random"]
    assert row["random_interval"][0] < row["random"] < row["random_interval"][1]
    assert row["map_gain_over_random"] == pytest.approx(row["random"] - row["map"])


def test_a_map_of_the_wrong_cell_is_no_better_than_random() -> None:
    cells = -torch.eye(16)[11].view(4, 2, 2).expand(2, -1, -1, -1)  # the cell that decides comes last
    found = faithfulness(Bright(), views(), cells, 1)  # type: ignore[arg-type]
    assert found.gain("deletion")[0] < 0
    assert found.gain("insertion")[0] < 0


def test_the_centre_comes_first() -> None:
    prior = centre_prior((2, 3, 5))
    assert prior.shape == (2, 3, 5)
    assert prior[1].argmax() == 7
    assert torch.equal(prior[0], prior[0].flip(0).flip(1))
