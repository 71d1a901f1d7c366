"""Video networks initialised from image networks: they see of a clip that does not change what those see of a frame."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from baselines_small import small_settings
from timesformer import TimeSformer
from timesformer.baselines.convolution import ConvNet
from timesformer.baselines.frame_vit import FrameViT
from timesformer.baselines.slowfast import SlowFast
from timesformer.config import Preprocessing, Training
from timesformer.errors import SettingError, WeightsError
from timesformer.training.trainable import find_trainable
from timesformer.weights.classifier import load_model
from timesformer.weights.initialise import Initialised, initialise_classifier, own_patch_size
from timesformer.weights.resize import resize_classifier
from weights.zoo_tensors import draw_tensors

DEPTHS, WIDTH = (1, 2, 1, 1), 16


def image_tensors() -> dict[str, Tensor]:
    """The state dict of a small image ResNet with torchvision's names, head and all."""
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (9, 32 * WIDTH), "fc.bias": (9,)}

    def add(convolution: str, norm: str, *shape: int) -> None:
        shapes[f"{convolution}.weight"] = shape
        shapes.update({f"{norm}.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{norm}.num_batches_tracked"] = ()

    add("conv1", "bn1", WIDTH, 3, 7, 7)
    channels = WIDTH
    for stage, depth in enumerate(DEPTHS):
        inner = WIDTH * 2**stage
        for number in range(depth):
            name = f"layer{stage + 1}.{number}"
            add(f"{name}.conv1", f"{name}.bn1", inner, channels, 1, 1)
            add(f"{name}.conv2", f"{name}.bn2", inner, inner, 3, 3)
            add(f"{name}.conv3", f"{name}.bn3", 4 * inner, inner, 1, 1)
            if not number:
                add(f"{name}.downsample.0", f"{name}.downsample.1", 4 * inner, channels, 1, 1)
            channels = 4 * inner
    return draw_tensors(shapes)


def image_map(tensors: dict[str, Tensor], x_BCHW: Tensor) -> Tensor:
    """The last map of torchvision's ResNet, written out: stride at the 3 x 3 convolutions."""

    def normed(x: Tensor, convolution: str, norm: str, stride: int = 1) -> Tensor:
        weight = tensors[f"{convolution}.weight"]
        x = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)
        parts = (tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    x = F.max_pool2d(normed(x_BCHW, "conv1", "bn1", 2).relu(), 3, 2, 1)
    for stage, depth in enumerate(DEPTHS):
        for number in range(depth):
            name, stride = f"layer{stage + 1}.{number}", 2 if stage and not number else 1
            short = x if number else normed(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            inner = normed(x, f"{name}.conv1", f"{name}.bn1").relu()
            inner = normed(inner, f"{name}.conv2", f"{name}.bn2", stride).relu()
            x = (normed(inner, f"{name}.conv3", f"{name}.bn3") + short).relu()
    return x


def initialised(architecture: str, init: Path, **changes: Any) -> Initialised:
    torch.manual_seed(0)
    return initialise_classifier(small_settings(architecture, **changes), Preprocessing(), ("a", "b"), init)


# How many frames of a clip are enough for the middle ones not to see the zeros that pad both ends.
FRAMES = {"i3d": 20, "slowfast": 36, "tsm": 12}


@torch.no_grad()
@pytest.mark.parametrize("architecture", FRAMES)
def test_a_clip_that_does_not_change_is_seen_as_its_frame(architecture: str, tmp_path: Path) -> None:
    tensors = image_tensors()
    torch.save(tensors, tmp_path / "resnet.pth")
    assert own_patch_size(tmp_path / "resnet.pth") is None
    made = initialised(architecture, tmp_path / "resnet.pth", width=8, num_frames=4)
    model = made.classifier.model.eval()
    assert isinstance(model, ConvNet)
    assert (model.settings.width, model.settings.depths, model.settings.num_classes) == (WIDTH, DEPTHS, 2)  # type: ignore[attr-defined]
    frame = torch.randn(2, 3, 64, 64)
    clips = frame.unsqueeze(2).expand(-1, -1, FRAMES[architecture], -1, -1)
    found = model.encode_pathways(clips)[0] if isinstance(model, SlowFast) else model.encode(clips)
    expected = image_map(tensors, frame)
    torch.testing.assert_close(found[:, :, found.shape[2] // 2], expected, rtol=1e-4, atol=1e-4)
    assert (found[:, :, 0] - expected).abs().max() > 1e-3  # an end, which sees padding
    assert made.classifier.preprocessing.mean == (0.485, 0.456, 0.406)
    assert {"head.weight", "head.bias"} <= made.new
    assert (made.new > {"head.weight", "head.bias"}) == (architecture == "slowfast")


def test_timms_folders_say_which_pixels(tmp_path: Path) -> None:
    counted = ".num_batches_tracked"  # which old files have none of
    save_file(
        {name: tensor for name, tensor in image_tensors().items() if not name.endswith(counted)},
        tmp_path / "model.safetensors",
    )
    config = {"architecture": "resnet50", "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = initialised("tsm", tmp_path)
    assert (made.classifier.preprocessing.mean, made.classifier.preprocessing.std) == ((0.5,) * 3, (0.25,) * 3)
    assert torch.equal(made.classifier.model.state_dict()["stem.conv.weight"][:, :, 0], image_tensors()["conv1.weight"])


def test_the_last_blocks_of_an_inflated_network_can_be_trained_alone(tmp_path: Path) -> None:
    torch.save(image_tensors(), tmp_path / "resnet.pth")
    made = initialised("i3d", tmp_path / "resnet.pth")
    found = find_trainable(made.classifier.model, Training(trainable="last_blocks", last_blocks=2), made.new)
    assert found is not None
    assert {name.split(".")[1] for name in found.parameters if name.startswith("blocks.")} == {"3", "4"}
    with pytest.raises(SettingError, match="architecture i3d has no linear layers in blocks"):
        find_trainable(made.classifier.model, Training(trainable="adapters"), made.new)


@pytest.mark.parametrize("last", [2, 5])
def test_a_pathway_that_the_image_network_lacks_is_not_frozen(last: int, tmp_path: Path) -> None:
    """Of all five blocks, the stem alone would be frozen."""
    torch.save(image_tensors(), tmp_path / "resnet.pth")
    made = initialised("slowfast", tmp_path / "resnet.pth")
    with pytest.raises(
        SettingError,
        match=r"^training\.trainable is last_blocks, but (blocks\.0|stem)\.fast\.\S+ is new and random, "
        r"and would stay so; train all$",
    ):
        find_trainable(made.classifier.model, Training(trainable="last_blocks", last_blocks=last), made.new)


def test_what_cannot_be_initialised(tmp_path: Path) -> None:
    tensors = image_tensors()
    torch.save(tensors, tmp_path / "resnet.pth")
    with pytest.raises(SettingError, match=r"an image ResNet can initialise an i3d, slowfast or tsm, not .* x3d_s"):
        initialised("x3d_s", tmp_path / "resnet.pth")
    with pytest.raises(SettingError, match=r"an image ResNet can initialise .* not architecture timesformer"):
        initialise_classifier(TimeSformer(depth=1).settings, Preprocessing(), ("a",), tmp_path / "resnet.pth")
    with pytest.raises(WeightsError, match=r"an image model; a video model can be initialised from it"):
        load_model(tmp_path / "resnet.pth")
    basic = {name: tensor for name, tensor in tensors.items() if ".conv3" not in name and ".bn3" not in name}
    grouped = tensors | {"layer1.0.conv2.weight": torch.zeros(16, 4, 3, 3)}
    lacking = {name: tensor for name, tensor in tensors.items() if not name.startswith("layer2.1.bn2.")}
    for changed, message in (
        (basic, "an image ResNet without bottleneck blocks"),
        (grouped, r"1 misshapen \(blocks\.0\.b\.conv\.weight \(16, 4, 1, 3, 3\) for \(16, 16, 1, 3, 3\)\)"),
        (lacking, r"5 missing \(layer2\.1\.bn2\.weight"),
    ):
        torch.save(changed, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match=message):
            initialised("i3d", tmp_path / "other.pth")


@torch.no_grad()
def test_a_vit_initialises_a_frame_vit(tmp_path: Path) -> None:
    """timm's names, made of a space-only TimeSformer on one frame, which is that ViT."""
    vit = TimeSformer(
        scheme="space_only", width=64, depth=2, heads=1, patch_size=8, image_size=32, num_frames=1, num_classes=3
    ).eval()
    for parameter in vit.parameters():
        parameter.normal_(0, 0.1)
    names = {
        "embedding.class_token": "cls_token",
        "embedding.space_table": "pos_embed",
        "embedding.projection.": "patch_embed.proj.",
        "steps.space.norm.": "norm1.",
        "steps.space.attention.": "attn.",
        "mlp.0.": "mlp.fc1.",
        "mlp.3.": "mlp.fc2.",
    }
    tensors = {}
    for name, tensor in vit.state_dict().items():
        theirs = name.replace(".norm.", ".norm2.") if ".steps." not in name else name
        for ours, other in names.items():
            theirs = theirs.replace(ours, other)
        tensors[theirs] = tensor
    torch.save(tensors, tmp_path / "vit.pth")
    made = initialised("frame_vit", tmp_path / "vit.pth")
    model = made.classifier.model.eval()
    assert isinstance(model, FrameViT)
    assert model.settings.dimensions == (64, 2, 1)
    clips = torch.randn(2, 3, 4, 32, 32)
    expected = torch.stack([vit.forward_features(clips[:, :, time : time + 1]) for time in range(4)]).mean(0)
    torch.testing.assert_close(model.forward_features(clips), expected, rtol=1e-4, atol=1e-5)
    assert made.new == {"head.weight", "head.bias"}
    larger = resize_classifier(made.classifier, image_size=48, num_frames=6).model
    assert larger.state_dict()["embedding.space_table"].shape == (1, 37, 64)
    clips = torch.randn(1, 3, 6, 48, 48)
    torch.testing.assert_close(larger.eval()(clips), model(clips), rtol=1e-3, atol=1e-4)
