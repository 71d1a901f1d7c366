"""Which products of a block a backward pass need not compute again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from timesformer.model import checkpointing
from timesformer.model.adapters import add_adapters
from timesformer.model.timesformer import TimeSformer


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("ratio", [4, 8, 16])
def test_cheap_keeps_qkv_and_the_mlp_however_wide_and_no_adapter(
    monkeypatch: pytest.MonkeyPatch, ratio: int, adapted: bool
) -> None:
    kept: Counter[tuple[int, ...]] = Counter()
    original = checkpointing._policy

    def noted(rank: int, context: Any, operation: Any, *given: Any, **how: Any) -> Any:
        policy = original(rank, context, operation, *given, **how)
        if policy == checkpointing.CheckpointPolicy.MUST_SAVE and operation not in checkpointing.ATTENTION:
            kept[tuple(sorted(given[-1].shape))] += not context.is_recompute
        return policy

    monkeypatch.setattr(checkpointing, "_policy", noted)
    model = TimeSformer(
        size="tiny",
        width=16,
        depth=1,
        heads=2,
        image_size=16,
        patch_size=8,
        num_frames=2,
        mlp_ratio=ratio,
        num_classes=3,
    )
    if adapted:
        add_adapters(model, model.adaptable_layers(), 2, 0)
    model.set_activation_checkpointing("cheap")
    model.train()(torch.randn(1, 3, 2, 16, 16)).sum().backward()
    assert kept[16, 16 * ratio] == 2
    assert +kept == Counter({(16, 16 * ratio): 2, (16, 48): kept[16, 48]})
    assert kept[16, 48] >= (1 if adapted else 2)  # the first qkv of a block before which all is frozen has no gradient
