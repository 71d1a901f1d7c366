"""Parameters and multiply-accumulates against what was published (FACTS.md, "Baselines as published")."""

from __future__ import annotations

import json
from typing import Any

import pytest

from commands import Command, assert_one_line
from timesformer.baselines.architectures import build_model
from timesformer.baselines.cost import count_cost
from timesformer.config import ModelSettings
from timesformer.settings import make

# Millions of parameters, G multiply-accumulates of a view: PyTorchVideo's zoo; of X3D the paper's tables, which count
# convolutions as we do (of the zoo's 6.72 G of X3D-M, its own network's convolutions are 6.18 G); TSM's repository;
# ViT-B/16, 17.6 G a frame.
PUBLISHED = {
    "i3d": (28.04, 37.53),
    "slowfast": (34.57, 65.71),
    "x3d_m": (3.79, 6.2),
    "tsm": (24.33, 32.9),
    "frame_vit": (86.11, 8 * 17.6),
}


def settings(architecture: str, **values: Any) -> ModelSettings:
    values |= {"architecture": architecture}
    return make(ModelSettings.class_for(values), values, "test")


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_the_default_is_the_published_size(architecture: str) -> None:
    counted, (millions, giga) = count_cost(settings(architecture)), PUBLISHED[architecture]
    assert round(counted.parameters / 1e6, 2) == millions
    assert counted.macs / 1e9 == pytest.approx(giga, rel=0.015)


@pytest.mark.parametrize(("architecture", "side", "giga"), [("x3d_s", 160, 1.96), ("x3d_m", 224, 4.73)])
def test_x3d_is_the_papers_at_its_training_crops(architecture: str, side: int, giga: float) -> None:
    counted = count_cost(settings(architecture, image_size=side))
    assert round(counted.parameters / 1e6, 2) == 3.79
    assert counted.macs / 1e9 == pytest.approx(giga, rel=0.003)


def test_slowfast_101_is_the_published_one() -> None:
    counted = count_cost(settings("slowfast", depths=(3, 4, 23, 3), fusion_kernel=5))
    assert round(counted.parameters / 1e6, 2) == 62.83
    assert counted.macs / 1e9 == pytest.approx(127.20, rel=0.015)


def test_the_command_counts_them(command: Command) -> None:
    counted = json.loads(command("cost", "--architecture", "i3d", "--classes", 174, "--json").out)
    assert counted["parameters"] == count_cost(settings("i3d")).parameters - 226 * 2049
    frames = json.loads(command("cost", "--architecture", "frame_vit", "--size", "tiny", "--frames", 4, "--json").out)
    assert frames == count_cost(settings("frame_vit", size="tiny", num_frames=4))._asdict()
    assert_one_line(
        command("cost", "--architecture", "i3d", "--scheme", "axial"),
        "'scheme' is a setting of architecture timesformer",
    )
    assert_one_line(command("cost", "--architecture", "c3d"), "architecture is 'c3d', should be timesformer or i3d or")


@pytest.mark.parametrize(
    ("architecture", "values", "message"),
    [
        ("i3d", {"num_frames": 3}, "num_frames 3 is not a multiple of 2"),
        ("i3d", {"depths": (3, 4, 0, 3)}, r"depths is \[3, 4, 0, 3\]; expected one block or more"),
        ("slowfast", {"num_frames": 30}, "num_frames 30 is not a multiple of alpha 4"),
        ("slowfast", {"width": 24, "beta": 16}, "width 24 is not a multiple of beta 16"),
        ("slowfast", {"fusion_kernel": 4}, "fusion_kernel is 4; expected an odd number"),
        ("tsm", {"width": 8, "shift": 16}, "width 8 is not a multiple of shift 16"),
        ("frame_vit", {"image_size": 100}, "image_size 100 is not a multiple of patch_size 16"),
        ("frame_vit", {"width": 100}, "width 100 is not a multiple of heads 12"),
    ],
)
def test_sizes_that_cannot_be(architecture: str, values: dict[str, Any], message: str) -> None:
    from timesformer.errors import SettingError

    with pytest.raises(SettingError, match=message):
        build_model(settings(architecture, **values))
