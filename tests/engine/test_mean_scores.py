"""An engine of several networks: the logits of the mean of their scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import timesformer
from classifiers import classifier, some_clips
from timesformer.engine.ensemble import mean_logits
from timesformer.errors import SettingError
from timesformer.weights.ensemble import save_ensemble


@pytest.mark.parametrize("multilabel", [False, True])
def test_logits_have_the_mean_scores_and_stay_finite(multilabel: bool) -> None:
    torch.manual_seed(0)
    logits_MBK = torch.randn(4, 6, 5) * 10
    logits_MBK[:, 0] = torch.tensor([90.0, -90, 0, 0, 300])
    scores = logits_MBK.double().sigmoid() if multilabel else logits_MBK.double().softmax(-1)
    found = mean_logits(logits_MBK, multilabel)
    assert found.isfinite().all()
    again = found.sigmoid() if multilabel else found.softmax(-1)
    assert (again - scores.mean(0)).abs().max() < 1e-6


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_each_member_has_an_engine(tmp_path: Path, precision: Any) -> None:
    for name, seed, settings in (("a", 0, {}), ("b", 1, {"width": 48, "heads": 3, "scheme": "space_only"})):
        classifier(seed, **settings).save_pretrained(tmp_path / name)
    clips = some_clips(3, 3, 4, 32, 32)
    how: dict[str, Any] = {"device": "cpu", "clips": clips}
    alone = [timesformer.load_engine(tmp_path / name, "eager", precision, **how) for name in "ab"]
    both = save_ensemble({name: tmp_path / name for name in "ab"}, tmp_path / "both")
    engine = timesformer.load_engine(both, "eager", precision, **how)
    expected = torch.stack([one(clips).softmax(1) for one in alone]).mean(0)
    assert (engine(clips).softmax(1) - expected).abs().max() < 1e-6
    assert (alone[0](clips).softmax(1) - alone[1](clips).softmax(1)).abs().max() > 0.01
    assert engine.precision == precision
    assert engine.agreement == max((one.agreement for one in alone), key=lambda found: found.value)
    assert engine.clip_shape == alone[0].clip_shape
    assert str(engine).startswith(f"engine eager, {precision} (an ensemble of 2, as asked); logits within ")
    with pytest.raises(SettingError, match=r"^features: an ensemble has none; load one of its members$"):
        engine.features(clips)
    with pytest.raises(SettingError, match="uint8"):
        engine(clips.float())
