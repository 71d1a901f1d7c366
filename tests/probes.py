"""Small probes, and features that a probe can tell apart."""

from __future__ import annotations

import torch

from conftest import SMALL_PROBE
from timesformer.config import ProbeRecipe
from timesformer.features.extract import Features
from timesformer.recipes import load_recipe


def probe_recipe(*overrides: str) -> ProbeRecipe:
    common = ("probe.learning_rates=[0.0001,0.05]", "probe.epochs=4", "probe.batch_size=8")
    recipe = load_recipe("probe", (*SMALL_PROBE, *common, *overrides))
    assert isinstance(recipe, ProbeRecipe)
    return recipe


def separable(clips: int, seed: int, width: int = 32) -> Features:
    """Features of two classes that one direction tells apart, far from zero and of very unequal scale."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(clips) % 2
    features = torch.randn(clips, width, generator=generator)
    features[:, 3] += 4.0 * labels - 2.0
    scale = torch.logspace(-2, 2, width)
    return Features(features * scale + 5 * scale, labels, torch.arange(clips))
