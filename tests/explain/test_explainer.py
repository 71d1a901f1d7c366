"""Explanations of whole videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import timesformer
from classifiers import classifier, some_clips
from timesformer.config import ModelSettings
from timesformer.config.explain import Explain
from timesformer.data.motion import FPS, motion_clip
from timesformer.errors import SettingError
from timesformer.explain import explainer as explainers
from timesformer.explain import recording
from timesformer.explain.explainer import load_explainer
from timesformer.explain.heat import blend, scale_of
from timesformer.explain.pictures import weight_plot
from timesformer.explain.propagation import patch_map
from timesformer.explain.save import frame_rate
from timesformer.model.protocol import VideoModel
from timesformer.weights.classifier import Classifier


class CornerSettings(ModelSettings):
    """Settings of an architecture without attention."""

    architecture: Literal["corner"] = "corner"


class Corner(VideoModel):
    """Looks at the brightness of the upper left corner in the last frame, and at nothing else."""

    def __init__(self, settings: CornerSettings) -> None:
        super().__init__(settings)
        self.gain = nn.Parameter(torch.tensor([[0.0, 2.0]]))

    def forward_features(self, clips_BCTHW: Tensor) -> Tensor:
        return clips_BCTHW[:, :, -1, :4, :4].mean((1, 2, 3))[:, None]

    def forward_head(self, features_BD: Tensor) -> Tensor:
        return features_BD @ self.gain


def corner() -> Classifier:
    return Classifier(Corner(CornerSettings(num_frames=2, image_size=32, num_classes=2)).eval(), labels=("dark", "lit"))


def lit() -> Tensor:
    clip = torch.full((3, 2, 32, 32), 20, dtype=torch.uint8)
    clip[:, 1, :4, :4] = 250
    return clip


def test_occlusion_explains_any_architecture() -> None:
    found = load_explainer(corner(), "cpu").explain(lit(), method="occlusion", with_faithfulness=True)
    assert (found.label, found.predicted) == ("lit", "lit")
    assert [divmod(int(cells.argmax()), 64) for cells in found.cells_VURQ] == [(1, 0)] * 3
    assert (found.cells_VURQ.flatten(1).sort().values[:, :-1].abs() < 1e-5).all()
    assert found.frame_weights[1] == pytest.approx(1)
    assert found.faithfulness is not None
    assert all(found.faithfulness.gain(name)[1].low > 0 for name in ("deletion", "insertion"))


@pytest.mark.parametrize("method", ["rollout", "relevance"])
def test_an_architecture_without_attention_is_refused(method: str) -> None:
    with pytest.raises(SettingError, match=r"architecture corner has no attention .* or --method occlusion"):
        load_explainer(corner(), "cpu").explain(lit(), method=method)


def test_label_and_score_are_those_of_a_prediction(run: Path, bars: Path) -> None:
    video = bars / "test" / "right" / "1.mp4"
    best, other = timesformer.load(run, "cpu").predict(video)
    explainer = load_explainer(run, "cpu")
    found = explainer.explain(video)
    assert (found.label, found.predicted) == (best.label, best.label)
    assert found.score == pytest.approx(best.score, abs=1e-5)
    found = explainer.explain(video, other.label, method="relevance")
    assert (found.label, found.predicted) == (other.label, best.label)
    assert found.score == pytest.approx(other.score, abs=1e-5)


def test_classes_differ_in_relevance_and_not_in_rollout() -> None:
    explainer, clip = load_explainer(classifier(), "cpu"), some_clips(3, 8, 40, 48)
    maps = {
        (method, label): explainer.explain(clip, label, method=method, fps=10).map_NHW
        for method in ("rollout", "relevance")
        for label in "ab"
    }
    assert torch.equal(maps["rollout", "a"], maps["rollout", "b"])
    assert (maps["relevance", "a"] - maps["relevance", "b"]).abs().max() > 1e-5


@pytest.mark.parametrize("scheme", ["divided_space_time", "space_only", "joint_space_time"])
def test_the_map_of_a_patch_is_strongest_there(scheme: str) -> None:
    """In one block half of it is residual."""
    net = classifier(scheme=scheme, depth=1, position="space", patch_size=8)
    explainer, clip = load_explainer(net, "cpu"), some_clips(3, 8, 32, 32)
    frame = explainer.explain(clip, fps=10).frames[-1]
    found = explainer.explain(clip, fps=10, query=(frame, 25, 13))
    top = [int(index) for index in torch.unravel_index(found.map_NHW.argmax(), found.map_NHW.shape)]
    assert top[0] == len(found.frames) - 1
    assert (top[1] // 8, top[2] // 8) == (1, 3)


@pytest.mark.parametrize("method", ["rollout", "relevance"])
def test_more_grids_change_what_is_fine_alone(method: str) -> None:
    net = classifier()
    preprocessing = net.preprocessing.model_copy(update={"test_crops": 1, "short_side": 32})
    explainer = load_explainer(Classifier(net.model, preprocessing, net.labels), "cpu")
    clip = some_clips(3, 8, 32, 96)
    one, two = (explainer.explain(clip, fps=10, method=method, grids=grids) for grids in (1, 2))
    assert (one.label, one.score, one.frames) == (two.label, two.score, two.frames)
    assert torch.equal(one.covered_HW, two.covered_HW)
    assert not two.map_NHW[:, ~two.covered_HW].any()
    assert two.cells_VURQ.shape == one.cells_VURQ.shape
    assert float(two.map_NHW.sum()) == pytest.approx(1, abs=1e-5)
    assert not torch.allclose(one.map_NHW, two.map_NHW, rtol=0.01)


def test_a_class_token_that_sees_no_patch() -> None:
    explainer = load_explainer(classifier(scheme=("time",)), "cpu")
    with pytest.raises(
        SettingError, match=r"^method rollout: nothing of any patch reaches what is asked; try occlusion"
    ):
        explainer.explain(some_clips(3, 8, 32, 32), fps=10)


def test_a_pixel_outside_of_the_crops() -> None:
    net = classifier()
    preprocessing = net.preprocessing.model_copy(update={"test_crops": 1, "short_side": 32})
    explainer = load_explainer(Classifier(net.model, preprocessing, net.labels), "cpu")
    clip = some_clips(3, 8, 32, 96)
    frame = explainer.explain(clip, fps=10).frames[0]
    with pytest.raises(SettingError, match=r"^query: pixel 3, 5 is outside of the crops that the model looks at$"):
        explainer.explain(clip, fps=10, query=(frame, 3, 5))


def test_a_patch_that_nothing_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pixel is in a crop, all the same."""
    monkeypatch.setattr(explainers, "patch_map", lambda *given: torch.zeros_like(patch_map(*given)))
    explainer, clip = load_explainer(classifier(), "cpu"), some_clips(3, 8, 32, 32)
    with pytest.raises(SettingError, match=r"^method rollout: nothing of any patch reaches what is asked"):
        explainer.explain(clip, fps=10, query=(0, 3, 5))


def test_settings_are_given_in_one_way() -> None:
    explainer: Any = load_explainer(classifier(), "cpu")
    with pytest.raises(
        SettingError, match=r"^explain: method is 'x', should be 'rollout', 'relevance' or 'occlusion'$"
    ):
        explainer.explain(some_clips(3, 8, 32, 32), method="x")


def test_colours_say_how_much() -> None:
    """None at what an even map has and below, the last one at the highest value; nothing is hidden by no heat."""
    found = load_explainer(classifier(), "cpu").explain(motion_clip("left", 5), fps=FPS)
    scale = scale_of(found)
    even = 1 / found.map_NHW.numel()
    assert scale.unit == pytest.approx(even)
    assert scale.high == pytest.approx(float(found.map_NHW.max()) / even)
    heat = scale.heat(found.map_NHW)
    assert heat.max() == 1
    assert not heat[found.map_NHW < even].any()
    frames = torch.full((*found.map_NHW.shape, 3), 90, dtype=torch.uint8).numpy()
    overlay = blend(frames, heat, found.covered_HW)
    assert (overlay[(heat == 0).numpy()] == 90).all()
    assert overlay[(heat == 1).numpy()].mean() > 150  # inferno ends in a bright yellow
    dark = blend(frames, torch.zeros_like(heat), torch.zeros_like(found.covered_HW))
    assert 31 <= dark.min() <= dark.max() <= 32  # 90 * 0.35


def test_colours_of_occlusion_have_both_signs() -> None:
    """Nothing is drawn where nothing changes; what lowers the score is red, what raises it blue, by the same scale."""
    found = load_explainer(corner(), "cpu").explain(lit(), method="occlusion")
    map_NHW = torch.zeros_like(found.map_NHW)
    map_NHW[0, 0, 0], map_NHW[0, 0, 1], map_NHW[0, 0, 2] = 0.5, -1.0, 1.0
    found = found._replace(map_NHW=map_NHW)
    scale = scale_of(found)
    assert (scale.low, scale.high) == (-1.0, 1.0)
    frames = torch.full((*map_NHW.shape, 3), 90, dtype=torch.uint8).numpy()
    overlay = blend(frames, scale.heat(map_NHW), torch.ones_like(found.covered_HW), signed=scale.signed).astype(int)
    assert (overlay[0, 1:] == 90).all()
    half, raises, lowers = overlay[0, 0, :3]
    assert lowers[0] > lowers[2] + 50
    assert raises[2] > raises[0] + 50
    assert half[0] > half[2]


def test_weights_are_labelled_as_they_are() -> None:
    """Ticks of 2.5% are not written 2%, 5%, 8%."""
    figure = weight_plot(load_explainer(classifier(num_frames=8), "cpu").explain(motion_clip("left", 5), fps=FPS))
    figure.draw_without_rendering()
    axis = figure.axes[0].yaxis
    for tick, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True):
        assert float(label.get_text().rstrip("%")) == pytest.approx(100 * tick, abs=1e-6)


def test_an_animation_takes_as_long_as_the_video() -> None:
    found = load_explainer(classifier(num_frames=8), "cpu").explain(motion_clip("left", 5), fps=FPS)
    for times, rate in (([0.5, 0.7, 0.9], 5.0), ([0.0, 3.0, 6.0], 2.0), ([0.0, 0.01, 0.02], 25.0), ([None] * 3, 4.0)):
        assert frame_rate(found._replace(seconds=times, frames=[0, 1, 2])) == pytest.approx(rate)


def test_the_recorded_model_is_made_once_and_not_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[VideoModel] = []

    class Counted(recording.RecordedModel):
        def __init__(self, model: VideoModel) -> None:
            made.append(model)
            super().__init__(model)

    monkeypatch.setattr(recording, "RecordedModel", Counted)
    explainer = load_explainer(classifier(), "cpu")
    explainer.check(Explain())
    assert not made
    for _ in range(2):
        explainer.with_engine(explainer.engine).explain(some_clips(3, 8, 40, 48), fps=10)
    assert len(made) == 1
