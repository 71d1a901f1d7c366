"""An architecture and an attention step of one's own, through the public functions, without a change in any room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

import timesformer
from timesformer.baselines import architectures
from timesformer.config import ARCHITECTURES, STEPS
from timesformer.errors import SettingError
from timesformer.model import schemes
from timesformer.model.attention import StepAttention
from timesformer.model.tokens import Grid, Keys, number_patches


class MeanPixelSettings(timesformer.ModelSettings):
    """The mean colour of every frame."""

    architecture: Literal["mean_pixel"] = "mean_pixel"
    scale: float = 1.0


class MeanPixel(timesformer.VideoModel):
    """One linear layer on the mean colour of every frame."""

    settings: MeanPixelSettings

    def __init__(self, settings: MeanPixelSettings) -> None:
        super().__init__(settings)
        self.head = nn.Linear(3 * settings.num_frames, settings.num_classes)

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        return clips_BCTHW.mean((3, 4)).flatten(1) * self.settings.scale

    def forward_head(self, features_BD: Tensor) -> Tensor:
        logits: Tensor = self.head(features_BD)
        return logits


def diagonal(attention: StepAttention, x_BTND: Tensor, cls_B1D: Tensor, grid: Grid) -> tuple[Tensor, None]:
    """Each patch attends to the one as many places further in every frame as the frame is further in the clip."""
    frames, places = x_BTND.shape[1:3]
    rolled = torch.stack([x_BTND[:, t].roll(-t, 1) for t in range(frames)], 1)
    out = attention(rolled.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, places)).transpose(1, 2)
    return torch.stack([out[:, t].roll(t, 1) for t in range(frames)], 1), None


def diagonal_keys(frames: int, grid: Grid) -> Keys:
    numbers_TN = number_patches(frames, grid).flatten(1)
    rolled = torch.stack([numbers_TN[t].roll(-t) for t in range(frames)])
    keys = torch.empty(frames, rolled.shape[1], frames, dtype=torch.long)
    for t in range(frames):
        keys[t] = rolled.T.roll(t, 0)
    return Keys(keys.flatten(0, 1), None)


@pytest.fixture
def registered() -> Iterator[None]:
    """Both registered, for one test."""
    timesformer.register_architecture(MeanPixelSettings, MeanPixel)
    timesformer.register_step("diagonal", diagonal, diagonal_keys)
    yield
    del ARCHITECTURES["mean_pixel"], architectures.BUILDERS[MeanPixelSettings], schemes.STEPS["diagonal"]
    STEPS.remove("diagonal")


RECIPE = """
model: {architecture: mean_pixel, num_frames: 4, image_size: 16}
preprocessing: {sampling: {method: segments}}
augmentation: {short_side: [16, 20], flip: false}
optimizer: {name: adamw, learning_rate: 0.1, scale_learning_rate: none, schedule: constant}
training: {epochs: 8, batch_size: 4, device: cpu}
data: {workers: 0}
"""


@pytest.mark.usefixtures("registered")
def test_an_architecture_of_ones_own(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    timesformer.fit(tmp_path / "recipe.yaml", bars, tmp_path / "run", overrides=["model.scale=2.0"])
    classifier = timesformer.load_model(tmp_path / "run")
    assert isinstance(classifier.model, MeanPixel)
    assert classifier.model.settings == MeanPixelSettings(num_frames=4, image_size=16, num_classes=2, scale=2.0)
    video = bars / "test" / "left" / "0.mp4"
    clips = timesformer.read_views(video, classifier.model.clip_shape, classifier.preprocessing)
    features = ((clips.float() / 255 - 0.45) / 0.225).mean((3, 4)).flatten(1) * 2
    head = classifier.model.head
    scores = (features @ head.weight.T + head.bias).softmax(1)
    predictor = timesformer.load(tmp_path / "run", "cpu", precision="fp32")
    torch.testing.assert_close(predictor.scores(video), scores.mean(0), rtol=0, atol=1e-5)
    result = timesformer.evaluate(tmp_path / "run", bars, device="cpu", precision="fp32", workers=0)
    assert len(result.paths) == 4
    row = [path.parent.name + path.name for path in result.paths].index("left0.mp4")
    torch.testing.assert_close(result.scores_BK[row], scores.mean(0), rtol=0, atol=1e-5)
    with pytest.raises(SettingError, match="tokens: architecture mean_pixel has only features of its last layer"):
        predictor.engine.features(clips, tokens=True)
    torch.testing.assert_close(predictor.engine.features(clips), features, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("scheme", [("diagonal", "space"), ("space", "diagonal"), ("diagonal",)])
def test_a_step_of_ones_own(scheme: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    settings = timesformer.TimeSformerSettings(
        scheme=scheme, width=24, depth=2, heads=3, image_size=24, patch_size=8, num_frames=3, num_classes=5
    )
    model = timesformer.TimeSformer(settings)
    for name, parameter in model.named_parameters():
        if ".fc." in name:
            nn.init.normal_(parameter, std=0.2)
    clips = torch.randint(0, 256, (2, 3, 3, 24, 24), dtype=torch.uint8)
    classifier = timesformer.Classifier(model)
    engine = timesformer.load_engine(classifier, precision="fp32", device="cpu")
    model.eval()
    pixels = (clips.float() / 255 - 0.45) / 0.225
    with torch.no_grad():
        torch.testing.assert_close(engine(clips), model(pixels), rtol=1e-4, atol=1e-4)
        for layer in (0, 1):
            expected = model.forward_layer(pixels, layer, tokens=True)
            torch.testing.assert_close(engine.features(clips, layer, tokens=True), expected, rtol=1e-3, atol=1e-3)
    loss = model.train()(pixels).square().sum()
    loss.backward()
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "diagonal" in name)


@pytest.mark.usefixtures("registered")
def test_the_keys_of_a_step_are_those_it_attends_to() -> None:
    """What a patch gains changes with its keys' tokens alone."""
    attention = timesformer.model.attention.Attention(12, 3)
    frames, grid = 3, (2, 2)
    x, cls = torch.randn(1, frames, 4, 12), torch.randn(1, 1, 12)
    keys = schemes.STEPS["diagonal"].indices(frames, grid).patches_QM
    with torch.no_grad():
        before = diagonal(attention, x, cls, grid)[0].flatten(1, 2)
        for number in range(frames * 4):
            changed = x.clone()
            changed.view(-1, 12)[number] += 1
            after = diagonal(attention, changed, cls, grid)[0].flatten(1, 2)
            moved = ((after - before).abs().amax(2)[0] > 1e-6).nonzero()[:, 0].tolist()
            assert moved == [query for query in range(frames * 4) if number + 1 in keys[query].tolist()]


@pytest.mark.usefixtures("registered")
def test_what_cannot_be_registered() -> None:
    timesformer.register_architecture(MeanPixelSettings, MeanPixel)  # twice is as good as once
    with pytest.raises(SettingError, match="architecture 'mean_pixel' is taken by MeanPixelSettings"):
        timesformer.register_architecture(type("Other", (MeanPixelSettings,), {}), MeanPixel)
    with pytest.raises(SettingError, match=r'ModelSettings: expected a field architecture: Literal\["NAME"\] = "NAME"'):
        timesformer.register_architecture(timesformer.ModelSettings, MeanPixel)
    with pytest.raises(SettingError, match=r"timesformer\.register_architecture adds it"):
        timesformer.build_model(type("New", (MeanPixelSettings,), {})())
