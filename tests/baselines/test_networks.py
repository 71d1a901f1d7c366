"""What the networks compute, against literal references; those of I3D, SlowFast and X3D are PyTorchVideo's own logits
(tests/weights/test_pytorchvideo.py)."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines_small import SMALL, small_model, small_settings
from timesformer.baselines.architectures import BUILDERS, build_model
from timesformer.baselines.convolution import window_means
from timesformer.baselines.resnet import shift_channels
from timesformer.baselines.slowfast import SlowFast, slow_frames
from timesformer.config import ARCHITECTURES, I3DSettings, TimeSformerSettings
from timesformer.errors import SettingError
from timesformer.model.timesformer import TimeSformer

FROM_ANYWHERE = """
from timesformer.baselines.cost import count_cost  # which imports what a network is made of, and nothing else
from timesformer.config import I3DSettings

print(count_cost(I3DSettings(width=8, depths=(1, 1, 1, 1), num_classes=5)).parameters)
"""
CLIPS = torch.randn(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(3))


def norm(x: Tensor, tensors: dict[str, Tensor], name: str) -> Tensor:
    weight, bias, mean, variance = (
        tensors[f"{name}.norm.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def frame_by_frame(tensors: dict[str, Tensor], depths: tuple[int, ...], clip: Tensor, shift: int) -> Tensor:
    """The features of a clip (3, T, H, W) by 2-D convolutions of one frame at a time, as TSM's paper has them."""

    def convolve(frames: list[Tensor], name: str, stride: int = 1) -> list[Tensor]:
        weight = tensors[f"{name}.conv.weight"][:, :, 0]
        padding = weight.shape[-1] // 2
        return [norm(F.conv2d(frame[None], weight, None, stride, padding)[0], tensors, name) for frame in frames]

    def moved(frames: list[Tensor]) -> list[Tensor]:
        eighth, none = len(frames[0]) // shift, torch.zeros_like(frames[0])
        found = []
        for time, frame in enumerate(frames):
            later = frames[time + 1] if time + 1 < len(frames) else none
            earlier = frames[time - 1] if time else none
            found.append(torch.cat([later[:eighth], earlier[eighth : 2 * eighth], frame[2 * eighth :]]))
        return found

    frames = [F.max_pool2d(frame.relu(), 3, 2, 1) for frame in convolve(list(clip.unbind(1)), "stem", 2)]
    block = 0
    for stage, depth in enumerate(depths):
        for number in range(depth):
            name, stride = f"blocks.{block}", 2 if stage and not number else 1
            short = convolve(frames, f"{name}.shortcut", stride) if not number else frames
            inner = [frame.relu() for frame in convolve(moved(frames), f"{name}.a")]
            inner = [frame.relu() for frame in convolve(inner, f"{name}.b", stride)]
            frames = [(one + other).relu() for one, other in zip(convolve(inner, f"{name}.c"), short, strict=True)]
            block += 1
    return torch.stack([frame.mean((1, 2)) for frame in frames]).mean(0)


def test_no_import_registers_an_architecture() -> None:
    """Every one that settings know is made in a process that has imported only what makes it."""
    assert set(BUILDERS) == set(ARCHITECTURES.values())
    done = subprocess.run([sys.executable, "-c", FROM_ANYWHERE], stdout=subprocess.PIPE, text=True, check=True)
    settings = I3DSettings(width=8, depths=(1, 1, 1, 1), num_classes=5)
    assert int(done.stdout) == sum(parameter.numel() for parameter in build_model(settings).parameters())


@torch.no_grad()
def test_tsm_is_an_image_network_with_moved_channels() -> None:
    model = small_model("tsm")
    features = model.forward_features(CLIPS)
    for clip, found in zip(CLIPS, features, strict=True):
        expected = frame_by_frame(model.state_dict(), SMALL["tsm"]["depths"], clip, 8)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (features - small_model("tsm", shift=4).forward_features(CLIPS)).abs().max() > 1e-3


def test_shifted_channels() -> None:
    x = torch.arange(1.0, 13).reshape(1, 4, 3, 1, 1)  # frames 1 2 3, 4 5 6, 7 8 9, 10 11 12 of the channels
    expected = [[2, 3, 0], [0, 4, 5], [7, 8, 9], [10, 11, 12]]
    assert shift_channels(x, 1)[0, :, :, 0, 0].tolist() == expected


@torch.no_grad()
def test_frame_vit_is_the_mean_of_an_image_model() -> None:
    """Its tensors are those of a space-only TimeSformer, which on one frame is a ViT."""
    model = small_model("frame_vit")
    vit = TimeSformer(
        TimeSformerSettings(
            scheme="space_only", width=24, depth=2, heads=3, patch_size=8, image_size=32, num_frames=1, num_classes=5
        )
    ).eval()
    vit.load_state_dict(model.state_dict())
    logits = torch.stack([vit(CLIPS[:, :, time : time + 1]) for time in range(8)]).mean(0)
    torch.testing.assert_close(model(CLIPS), logits, rtol=1e-4, atol=1e-5)
    early = torch.stack([vit.forward_layer(CLIPS[:, :, time : time + 1], 0) for time in range(8)]).mean(0)
    torch.testing.assert_close(model.forward_layer(CLIPS, 0), early, rtol=1e-4, atol=1e-5)
    with pytest.raises(SettingError, match="tokens: architecture frame_vit has only features"):
        model.forward_layer(CLIPS, tokens=True)


def test_windows_before_the_head() -> None:
    x = torch.randn(2, 4, 3, 5, 4)
    expected = torch.stack(
        [x[:, :, :, row : row + 3, column : column + 3].mean((2, 3, 4)) for row in range(3) for column in range(2)], -1
    )
    torch.testing.assert_close(window_means(x, 3).flatten(2), expected)
    for window in (None, 5, 9):
        torch.testing.assert_close(window_means(x, window), x.mean((2, 3, 4))[:, :, None, None])


@torch.no_grad()
def test_the_pathways_of_slowfast() -> None:
    assert slow_frames(32, 4) == torch.linspace(0, 31, 8).long().tolist()  # as the authors' code has it
    assert slow_frames(8, 8) == [0]
    model = small_model("slowfast")
    assert isinstance(model, SlowFast)
    slow, fast = model.encode_pathways(CLIPS)
    assert (slow.shape, fast.shape) == ((2, 512, 2, 1, 1), (2, 64, 8, 1, 1))
    unseen = CLIPS.clone()
    unseen[:, :, 3] += 1  # the slow pathway sees frames 0 and 7, but gets to know of others through the fast one
    both = model.encode_pathways(unseen)
    assert all((one - other).abs().max() > 1e-4 for one, other in zip(both, (slow, fast), strict=True))
    for block in (model.stem, *model.blocks()):
        if block.lateral is not None:
            block.lateral.norm.weight.zero_()
            block.lateral.norm.bias.zero_()
    torch.testing.assert_close(model.encode_pathways(unseen)[0], model.encode_pathways(CLIPS)[0])


@pytest.mark.parametrize("architecture", SMALL)
def test_the_protocol(architecture: str) -> None:
    model = build_model(small_settings(architecture)).train()
    depth = len(model.blocks())
    layers = {name: model.layer_of(name) for name, _ in model.named_parameters()}
    assert set(layers.values()) == set(range(depth + 2))
    assert all(layer == depth + 1 for name, layer in layers.items() if name.startswith("head."))
    assert all(layers[name] == int(name.split(".")[1]) + 1 for name in layers if name.startswith("blocks."))
    model(CLIPS).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model(CLIPS), model.forward_head(model.forward_features(CLIPS)))
    with pytest.raises(SettingError, match=r"clips of type torch\.uint8: expected floating point"):
        model(CLIPS.to(torch.uint8))
    with pytest.raises(SettingError, match=r"clips of shape \(2, 8, 3, 32, 32\)"):
        model(CLIPS.transpose(1, 2))


@pytest.mark.parametrize(("architecture", "unit"), [("i3d", 2), ("slowfast", 4)])
def test_clips_of_other_lengths_are_refused(architecture: str, unit: int) -> None:
    with pytest.raises(SettingError, match=f"clips of 7 frames: their number must be a multiple of {unit}"):
        small_model(architecture)(CLIPS[:, :, :7])


def test_new_blocks_begin_as_their_shortcuts() -> None:
    """Zero closes every residual branch, so a new network is as deep as its shortcuts."""
    for architecture in ("i3d", "x3d_s"):
        model = build_model(small_settings(architecture)).eval()
        for block in model.blocks():
            assert not block.c.norm.weight.any()
        weight = model.blocks()[-1].a.conv.weight.detach()
        assert float(weight.std()) == pytest.approx((2 / (len(weight) * weight[0, 0].numel())) ** 0.5, rel=0.1)


def test_a_frozen_norm_keeps_its_statistics() -> None:
    model = small_model("i3d")
    for parameter in model.blocks()[0].parameters():
        parameter.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()(CLIPS)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not [name for name in changed if name.startswith("blocks.0.")]
    assert "blocks.1.a.norm.running_mean" in changed
