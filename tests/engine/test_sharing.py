"""Threads that share an engine; models that are not TimeSformer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from classifiers import classifier, some_clips
from timesformer.baselines.architectures import BUILDERS, build_model, register_architecture
from timesformer.config import ARCHITECTURES, ModelSettings, Preprocessing
from timesformer.engine.agreement import LIMITS, Agreement
from timesformer.engine.engine import load_engine
from timesformer.errors import EngineError, SettingError
from timesformer.model.protocol import VideoModel
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import Classifier


class MeanSettings(ModelSettings):
    architecture: Literal["mean"] = "mean"


class MeanPixels(VideoModel):
    """A linear layer on the mean colours of each frame's quarters."""

    def __init__(self, settings: MeanSettings) -> None:
        super().__init__(settings)
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, settings.num_classes)

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        quarters = clips_BCTHW.mean(2).unflatten(3, (2, -1)).unflatten(2, (2, -1)).mean((3, 5))
        features: Tensor = self.norm(quarters.flatten(1))
        return features

    def forward_head(self, features_BD: Tensor) -> Tensor:
        logits: Tensor = self.head(features_BD)
        return logits


class Branching(MeanPixels):
    """Cannot be exported: what it does depends on the pixels."""

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        return super().forward_features(-clips_BCTHW if float(clips_BCTHW.mean()) > 0 else clips_BCTHW)


@pytest.fixture
def mean() -> Iterator[Classifier]:
    register_architecture(MeanSettings, MeanPixels)
    torch.manual_seed(0)
    model = build_model(MeanSettings(num_frames=5, image_size=30, num_classes=3))
    yield Classifier(model, Preprocessing(), ("a", "b", "c"))
    del ARCHITECTURES["mean"], BUILDERS[MeanSettings]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "precision"),
    [("eager", "fp32"), ("eager", "bf16"), ("openvino", "fp32"), ("onnx", "fp32")],
)
def test_another_architecture(mean: Classifier, name: Any, precision: Any) -> None:
    engine = load_engine(mean, name, precision, device="cpu")
    assert engine.agreement.value <= LIMITS[precision]
    assert engine.clip_shape == (5, 30)
    assert engine.views == 1600 // 5
    clips = some_clips(2, 3, 5, 30, 30)
    with torch.inference_mode():
        pixels = normalise(clips, mean.preprocessing)
        logits, features = mean.model(pixels), mean.model.forward_features(pixels)
    assert engine(clips).dtype == torch.float32
    assert Agreement.between(engine(clips), logits, precision).value <= LIMITS[precision]
    torch.testing.assert_close(engine.features(clips), features, rtol=0, atol=1e-5 if precision == "fp32" else 0.02)
    with pytest.raises(SettingError, match="tokens: architecture mean has only features of its last layer"):
        engine.features(clips, tokens=True)
    with torch.no_grad():
        for parameter in mean.model.parameters():
            parameter.zero_()
    assert Agreement.between(engine(clips), logits, precision).value <= LIMITS[precision]


def test_another_architecture_in_int8_is_refused(mean: Classifier) -> None:
    with pytest.raises(SettingError, match="precision int8 is not for architecture mean: fp32 or bf16"):
        load_engine(mean, "eager", "int8", device="cpu", clips=some_clips(2, 3, 5, 30, 30))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_a_network_that_cannot_be_exported(mean: Classifier, name: Any) -> None:
    net = Classifier(Branching(mean.model.settings), mean.preprocessing, mean.labels)
    with pytest.raises(EngineError, match=r"the network cannot be exported: .*; engine eager runs it") as error:
        load_engine(net, name, "fp32", device="cpu")
    assert "\n" not in str(error.value)


def test_threads_may_share_an_engine() -> None:
    net = classifier(scheme="axial")
    engine, alone = (load_engine(net, precision="fp32", device="cpu") for _ in range(2))
    jobs = [(some_clips(1 + number % 3, 3, 3 + number % 4, 32, 32), number % 2 == 0) for number in range(24)]

    def run(job: tuple[Tensor, bool]) -> Tensor:
        clips, tokens = job
        return engine.features(clips, tokens=tokens) if tokens else engine(clips)

    expected = [alone.features(clips, tokens=True) if tokens else alone(clips) for clips, tokens in jobs]
    with ThreadPoolExecutor(2) as pool:
        for found, reference in zip(pool.map(run, jobs), expected, strict=True):
            assert torch.equal(found, reference)


def test_calls_of_an_engine_take_turns() -> None:
    engine = load_engine(classifier(), device="cpu")
    inside: list[bool] = []
    run = engine._run

    def slow(*arguments: Any) -> Tensor:
        inside.append(engine._lock.locked())
        return run(*arguments)

    engine._run = slow
    engine(some_clips(1, 3, 4, 32, 32))
    engine.features(some_clips(1, 3, 4, 32, 32))
    assert inside == [True, True]
