"""Checkpoints of PyTorchVideo and PySlowFast: their names, what PyTorchVideo's own code computes, there and back."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from baselines_small import small_model, small_settings
from timesformer.baselines.architectures import build_model
from timesformer.config import I3DSettings, ModelSettings, Preprocessing, Sampling
from timesformer.errors import WeightsError
from timesformer.settings import make
from timesformer.weights.classifier import Classifier, load_model
from timesformer.weights.convert import convert, save_as
from timesformer.weights.initialise import initialise_classifier
from timesformer.weights.pytorchvideo import tensor_names
from weights.zoo_tensors import SMALL, WINDOW, draw_clips, draw_tensors

ZOO = Path(__file__).parents[1] / "data" / "zoo"
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def settings_for(architecture: str, **values: Any) -> ModelSettings:
    values |= {"architecture": architecture}
    return make(ModelSettings.class_for(values), values, "test")


def shapes_of(settings: ModelSettings, *, slowfast_names: bool) -> dict[str, list[int]]:
    """Names and shapes of the tensors in their layout."""
    with torch.device("meta"):
        tensors = build_model(settings).state_dict()
    names = tensor_names(settings, slowfast_names=slowfast_names)  # type: ignore[arg-type]
    return {theirs: list(tensors[ours].shape) for theirs, ours in names.items()}


@pytest.mark.parametrize("architecture", ["i3d", "slowfast", "x3d_m"])
def test_tensors_are_those_of_the_zoos_networks(architecture: str) -> None:
    recorded = [line.split() for line in (ZOO / f"{architecture}.txt").read_text().splitlines()]
    expected = {name: [int(size) for size in shape] for name, *shape in recorded}
    assert shapes_of(settings_for(architecture), slowfast_names=False) == expected


def pyslowfast_names(architecture: str) -> set[str]:
    """The names of a network of PySlowFast, as its modules are nested (stem_helper, resnet_helper, video_model_builder,
    head_helper)."""

    def normed(convolution: str, norm: str) -> list[str]:
        return [f"{convolution}.weight", *(f"{norm}.{part}" for part in NORM)]

    names = ["head.projection.weight", "head.projection.bias"]
    x3d, depths = architecture == "x3d_m", (3, 5, 11, 7) if architecture == "x3d_m" else (3, 4, 6, 3)
    paths = (0, 1) if architecture == "slowfast" else (0,)
    for path in paths:
        names += normed(f"s1.pathway{path}_stem.conv", f"s1.pathway{path}_stem.bn")
        for stage, depth in enumerate(depths, 2):
            for block in range(depth):
                name = f"s{stage}.pathway{path}_res{block}"
                if block == 0:
                    names += normed(f"{name}.branch1", f"{name}.branch1_bn")
                for part in "abc":
                    names += normed(f"{name}.branch2.{part}", f"{name}.branch2.{part}_bn")
                if x3d and block % 2 == 0:
                    names += [f"{name}.branch2.se.fc{n}.{part}" for n in (1, 2) for part in ("weight", "bias")]
    if architecture == "slowfast":
        for stage in (1, 2, 3, 4):
            names += normed(f"s{stage}_fuse.conv_f2s", f"s{stage}_fuse.bn")
    if x3d:
        names += ["s1.pathway0_stem.conv_xy.weight", *normed("head.conv_5", "head.conv_5_bn"), "head.lin_5.weight"]
    return set(names)


@pytest.mark.parametrize("architecture", ["i3d", "slowfast", "x3d_m"])
def test_names_are_pyslowfasts(architecture: str) -> None:
    settings = settings_for(architecture, **({"shortcut_norms": "all"} if architecture == "x3d_m" else {}))
    assert shapes_of(settings, slowfast_names=True).keys() == pyslowfast_names(architecture)


def small_checkpoint(architecture: str) -> tuple[ModelSettings, dict[str, Tensor]]:
    settings = settings_for(architecture, num_classes=7, **SMALL[architecture]["settings"])
    return settings, draw_tensors(shapes_of(settings, slowfast_names=False))


@torch.no_grad()
@pytest.mark.parametrize("architecture", SMALL)
def test_logits_are_pytorchvideos(architecture: str, tmp_path: Path) -> None:
    settings, tensors = small_checkpoint(architecture)
    torch.save({"model_state": tensors}, tmp_path / f"{architecture}.pyth")
    classifier = load_model(tmp_path / f"{architecture}.pyth")
    found = classifier.model.settings.model_dump(exclude={"num_frames", "image_size"})
    expected = settings.model_dump(exclude={"num_frames", "image_size"}) | {"pooling_window": 7}
    if architecture == "x3d_m":
        for factor in ("depth_factor", "width_factor", "bottleneck_factor"):  # rounded to whole blocks and channels
            assert found.pop(factor) == pytest.approx(expected.pop(factor), rel=0.15)
        assert classifier.model.settings.depths == settings.depths  # type: ignore[attr-defined]
    assert found == expected
    model = build_model(settings.model_copy(update={"pooling_window": WINDOW})).eval()
    model.load_state_dict(classifier.model.state_dict())
    recorded = torch.tensor(json.loads((ZOO / "logits.json").read_text())[architecture])
    torch.testing.assert_close(model(draw_clips(architecture)), recorded, rtol=0, atol=1e-4)


def read(folder: Path, architecture: str, name: str = "net.pyth", cfg: str | None = None) -> Classifier:
    """A small network of an architecture, from a file of that name."""
    content = {"model_state": small_checkpoint(architecture)[1]} | ({} if cfg is None else {"cfg": cfg})
    torch.save(content, folder / name)
    return load_model(folder / name)


# Frames, side, rate, side of the pooling windows, and SlowFast's alpha, of published files.
PUBLISHED = {
    "I3D_8x8_R50.pyth": (8, 256, 8, 7),
    "SLOWFAST_4x16_R50.pyth": (32, 256, 2, 7, 8),
    "SLOWFAST_8x8_R50.pyth": (32, 256, 2, 7, 4),
    "SLOWFAST_16x8_R101_50_50.pyth": (64, 256, 2, 7, 4),
    "X3D_XS.pyth": (4, 182, 12, 5),
    "X3D_S.pyth": (13, 182, 6, 5),
    "x3d_m.pyth": (16, 256, 5, 7),
    "X3D_L.pyth": (16, 356, 5, 10),
}


def seen(classifier: Classifier) -> tuple[Any, ...]:
    settings: Any = classifier.model.settings
    alpha = (settings.alpha,) if settings.architecture == "slowfast" else ()
    return (*settings.clip_shape, classifier.preprocessing.sampling.rate, settings.pooling_window, *alpha)


def test_published_names_say_how_videos_are_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for name, expected in PUBLISHED.items():
            architecture = name.split("_")[0].lower()
            found = read(tmp_path, {"x3d": "x3d_m"}.get(architecture, architecture), name)
            assert seen(found) == expected
            preprocessing = Preprocessing(sampling=Sampling(rate=expected[2], fps=30), test_clips=10, test_crops=3)
            assert found.preprocessing == preprocessing
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("architecture", "cfg", "says"),
    [
        ("i3d", "{TRANS_FUNC: basic_transform}", "RESNET.TRANS_FUNC basic_transform; expected bottleneck_transform"),
        (
            "x3d_m",
            "{TRANS_FUNC: bottleneck_transform}",
            "RESNET.TRANS_FUNC bottleneck_transform; expected x3d_transform",
        ),
        ("slowfast", "{STRIDE_1X1: true}", "RESNET.STRIDE_1X1 True; expected False"),
        (
            "slowfast",
            "{SPATIAL_DILATIONS: [[1, 1], [1, 1], [1, 1], [2, 2]]}",
            "RESNET.SPATIAL_DILATIONS [[1, 1], [1, 1], [1, 1], [2, 2]]; expected 1 in all stages",
        ),
    ],
)
def test_cfg_of_blocks_that_compute_something_else(tmp_path: Path, architecture: str, cfg: str, says: str) -> None:
    """They have the tensors of ours, so that nothing else tells them apart."""
    data = "DATA: {NUM_FRAMES: 8, SAMPLING_RATE: 4, TEST_CROP_SIZE: 64}\n"
    with pytest.raises(WeightsError, match=f"^{re.escape(f'{tmp_path}/net.pyth: its cfg has {says}')}$"):
        read(tmp_path, architecture, cfg=f"{data}RESNET: {cfg}")
    transform = "x3d_transform" if architecture == "x3d_m" else "bottleneck_transform"
    usual = f"RESNET: {{TRANS_FUNC: {transform}, STRIDE_1X1: false, SPATIAL_DILATIONS: [[1], [1], [1], [1]]}}"
    assert read(tmp_path, architecture, cfg=f"{data}SLOWFAST: {{ALPHA: 4}}\n{usual}").settings.num_frames == 8


def test_cfg_says_how_videos_are_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """PySlowFast's SLOWFAST_4x16, an I3D of 32 frames, and X3D-S: against the name, too."""
    with caplog.at_level(logging.WARNING):
        for architecture, config, expected in (
            (
                "slowfast",
                "DATA: {NUM_FRAMES: 32, SAMPLING_RATE: 2, TEST_CROP_SIZE: 224}\nSLOWFAST: {ALPHA: 8}",
                (32, 224, 2, 7, 8),
            ),
            (
                "i3d",
                "DATA: {NUM_FRAMES: 32, SAMPLING_RATE: 2, TEST_CROP_SIZE: 288, TRAIN_CROP_SIZE: 256}",
                (32, 288, 2, 8),
            ),
            ("x3d_m", "DATA: {NUM_FRAMES: 13, SAMPLING_RATE: 6, TEST_CROP_SIZE: 182}", (13, 182, 6, 5)),
        ):
            config += "\nTEST: {NUM_ENSEMBLE_VIEWS: 4}" if "TEST:" not in config else ""
            found = read(tmp_path, architecture, "X3D_M.pyth", config)
            assert seen(found) == expected
            assert found.preprocessing.test_clips == 4
    assert found.model.settings.architecture == "x3d_s"
    assert caplog.text == ""


def test_what_is_assumed_of_clips_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert seen(read(tmp_path, "slowfast")) == (32, 256, 2, 7, 4)
        assert "assuming num_frames 32, rate 2, image_size 256, alpha 4: " in caplog.text
        caplog.clear()
        assert seen(read(tmp_path, "i3d", cfg="DATA: {NUM_FRAMES: 16, SAMPLING_RATE: 4}")) == (16, 256, 4, 7)
        assert "assuming image_size 256: " in caplog.text
    with pytest.raises(WeightsError, match=r"net\.pyth: the file does not say which X3D it is.* X3D_S\.pyth, X3D_M"):
        read(tmp_path, "x3d_m")


@pytest.mark.parametrize("layout", ["pytorchvideo", "pyslowfast"])
@pytest.mark.parametrize("architecture", ["i3d", "slowfast", "x3d_s"])
def test_there_and_back(architecture: str, layout: str, tmp_path: Path) -> None:
    changes = {"shortcut_norms": "all" if layout == "pyslowfast" else "wider"} if architecture == "x3d_s" else {}
    classifier = Classifier(small_model(architecture, **changes), Preprocessing(test_clips=2), tuple("abcde"))
    classifier.save_pretrained(tmp_path / "native")
    convert(tmp_path / "native", tmp_path / "there.pyth", layout)
    found = load_model(tmp_path / "there.pyth")
    assert (found.model.settings, found.preprocessing, found.labels) == (
        classifier.model.settings,
        classifier.preprocessing,
        classifier.labels,
    )
    before, after = classifier.model.state_dict(), found.model.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []
    content = torch.load(tmp_path / "there.pyth", weights_only=True)
    del content["timesformer"]
    content["model_state"] = {f"module.{name}": tensor for name, tensor in content["model_state"].items()}
    torch.save(content, tmp_path / "X3D_S.pyth")  # as another program would have written it, on several GPUs
    after = load_model(tmp_path / "X3D_S.pyth").model.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_a_network_of_theirs_to_initialise_from(tmp_path: Path) -> None:
    _, tensors = small_checkpoint("i3d")
    torch.save({"model_state": tensors}, tmp_path / "net.pyth")
    recipe = I3DSettings(num_frames=4, image_size=64)
    made = initialise_classifier(recipe, Preprocessing(test_crops=1), ("a", "b"), tmp_path / "net.pyth")
    settings = made.classifier.model.settings
    assert isinstance(settings, I3DSettings)
    assert (settings.width, settings.clip_shape, settings.num_classes) == (8, (4, 64), 2)
    assert torch.equal(made.classifier.model.state_dict()["stem.conv.weight"], tensors["blocks.0.conv.weight"])
    assert made.new == {"head.weight", "head.bias"}


def test_what_is_refused(tmp_path: Path) -> None:
    _, tensors = small_checkpoint("i3d")

    def error(changed: dict[str, Any]) -> str:
        torch.save({"model_state": changed}, tmp_path / "net.pyth")
        with pytest.raises(WeightsError) as found:
            load_model(tmp_path / "net.pyth")
        return str(found.value)

    slow = tensors | {"blocks.0.conv.weight": torch.zeros(8, 3, 1, 7, 7)}
    assert "a network whose first kernel is (8, 3, 1, 7, 7), such as C2D or Slow; expected I3D" in error(slow)
    lacking = {name: tensor for name, tensor in tensors.items() if "res_blocks.1.branch2.conv_b" not in name}
    assert "4 missing (blocks.1.res_blocks.1.branch2.conv_b.weight" in error(lacking)
    assert "1 unknown (more)" in error(tensors | {"more": torch.zeros(1)})
    headless = {name: tensor for name, tensor in tensors.items() if "proj" not in name}
    assert "1 missing (blocks.6.proj.weight or head.projection.weight)" in error(headless)
    wide = tensors | {"blocks.6.proj.weight": torch.zeros(7, 300)}
    assert "1 misshapen (head.weight (7, 300) for (7, 256))" in error(wide)
    for architecture, layout, message in (
        (
            "tsm",
            "pytorchvideo",
            "the PyTorchVideo layout has no architecture tsm; it has i3d, slowfast, x3d_s",
        ),
        ("x3d_s", "pyslowfast", "the PySlowFast layout has shortcut_norms all, not wider"),
        ("i3d", "official", "the official layout has no architecture i3d; it has timesformer"),
    ):
        model = build_model(small_settings(architecture))
        with pytest.raises(WeightsError, match=message):
            save_as(Classifier(model, labels=tuple("abcde")), tmp_path / "out.pyth", layout)


def test_old_files_without_counters_load(tmp_path: Path) -> None:
    _, tensors = small_checkpoint("slowfast")
    old = {name: tensor for name, tensor in tensors.items() if "num_batches" not in name}
    torch.save({"model_state": old}, tmp_path / "net.pyth")
    found = load_model(tmp_path / "net.pyth").model.state_dict()
    assert torch.equal(found["stem.fast.conv.weight"], tensors["blocks.0.multipathway_blocks.1.conv.weight"])
