"""Engines of models with tubelets, and without a class token."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from classifiers import classifier, expected, some_clips
from timesformer.engine.agreement import LIMITS, Agreement
from timesformer.engine.engine import load_engine
from timesformer.errors import SettingError
from timesformer.video.transforms import normalise

VIDEOMAE = {
    "scheme": "joint_space_time",
    "class_token": False,
    "position": "sinusoidal",
    "pooling": "mean",
    "tubelet": 2,
    "norm_epsilon": 1e-12,
    "last_norm_epsilon": 1e-5,
}


@pytest.mark.parametrize("changes", [VIDEOMAE, {"tubelet": 2}, {"tubelet": 4, "scheme": "axial", "depth": 1}])
@pytest.mark.parametrize("seed", [0, 1])  # RGB and BGR
def test_engines_agree(changes: dict[str, Any], seed: int) -> None:
    net = classifier(seed, **changes)
    for precision in ("fp32", "bf16", "int8"):
        engine = load_engine(net, "eager", precision, device="cpu", clips=some_clips(8, 3, 4, 32, 32))
        for shape in ((2, 3, 4, 32, 32),) if precision == "int8" else ((2, 3, 4, 32, 32), (1, 3, 8, 48, 32)):
            clips = some_clips(*shape)
            logits, reference = engine(clips), expected(net, clips)
            if precision == "fp32":
                torch.testing.assert_close(logits, reference, rtol=0, atol=1e-4)
            assert Agreement.between(logits, reference, precision).value <= LIMITS[precision]
            if precision == "fp32":
                tokens = net.model.forward_layer(normalise(clips, net.preprocessing), 0, tokens=True)
                torch.testing.assert_close(engine.features(clips, 0, tokens=True), tokens, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_other_runtimes_agree(name: Any) -> None:
    net, clips = classifier(**VIDEOMAE | {"depth": 2}), some_clips(3, 3, 4, 32, 32)
    torch.testing.assert_close(
        load_engine(net, name, "fp32", device="cpu")(clips), expected(net, clips), rtol=0, atol=1e-4
    )


def test_clips_that_tubelets_do_not_divide() -> None:
    engine = load_engine(classifier(**VIDEOMAE), device="cpu")
    assert engine.views == 1600 // (2 * 4)
    with pytest.raises(SettingError, match="clips of 3 frames: their number must be a multiple of 2"):
        engine(some_clips(1, 3, 3, 32, 32))
