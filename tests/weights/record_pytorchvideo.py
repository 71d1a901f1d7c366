"""Writes tests/data/zoo: the tensors of PyTorchVideo's networks, and the logits of small ones of each kind.

    pip install --no-deps --target /tmp/ptv pytorchvideo==0.1.5 fvcore==0.1.5.post20221221 iopath==0.1.10
    PYTHONPATH=/tmp/ptv:tests/weights python tests/weights/record_pytorchvideo.py
    PYTHONPATH=/tmp/ptv:tests/weights:src python tests/weights/record_pytorchvideo.py full

The second prints how far ours are from them at their full size, with the same drawn tensors.

It runs without what its networks do not need, such as torchvision.
"""

from __future__ import annotations

import importlib.machinery
import json
import sys
import types
from pathlib import Path
from typing import Any

import torch
from torch import nn
from zoo_tensors import SMALL, WINDOW, draw_clips, draw_tensors

ZOO = Path(__file__).parents[1] / "data" / "zoo"


class Absent(types.ModuleType):
    """A package that is imported but not used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


for absent in ("torchvision", "torchvision.ops", "termcolor", "tabulate", "yacs", "yacs.config", "portalocker"):
    sys.modules[absent] = Absent(absent)
    sys.modules[absent].__spec__ = importlib.machinery.ModuleSpec(absent, None)

from pytorchvideo.models.hub import i3d_r50, slowfast_r50, x3d_m, x3d_s  # noqa: E402
from pytorchvideo.models.resnet import create_resnet  # noqa: E402
from pytorchvideo.models.slowfast import create_slowfast  # noqa: E402
from pytorchvideo.models.x3d import create_x3d  # noqa: E402


def small(architecture: str) -> nn.Module:
    settings, (frames, _, _) = SMALL[architecture]["settings"], SMALL[architecture]["shape"]
    made: nn.Module
    if architecture == "i3d":
        made = create_resnet(
            stem_dim_out=settings["width"],
            stem_conv_kernel_size=(5, 7, 7),
            stage1_pool=nn.MaxPool3d,
            stage_conv_a_kernel_size=(
                (3, 1, 1),
                [(3, 1, 1), (1, 1, 1)],
                [(3, 1, 1), (1, 1, 1)],
                [(1, 1, 1), (3, 1, 1)],
            ),
            head_pool_kernel_size=(frames // 2, WINDOW, WINDOW),
            model_num_class=7,
        )
    elif architecture == "slowfast":
        made = create_slowfast(
            stem_dim_outs=(settings["width"], settings["width"] // 8),
            head_pool_kernel_sizes=((frames // 4, WINDOW, WINDOW), (frames, WINDOW, WINDOW)),
            model_num_class=7,
        )
    else:
        made = create_x3d(
            width_factor=settings["width_factor"],
            depth_factor=settings["depth_factor"],
            head_dim_out=settings["head_width"],
            head_activation=None,
            input_clip_length=frames,
            input_crop_size=32 * WINDOW,
            model_num_class=7,
        )
    return made.eval()


def logits(architecture: str) -> list[list[float]]:
    network = small(architecture)
    drawn(network)
    found: list[list[float]] = run(network, draw_clips(architecture)).tolist()
    return found


def drawn(network: nn.Module) -> dict[str, torch.Tensor]:
    """Give a network drawn tensors; returns them."""
    tensors = draw_tensors({name: tensor.shape for name, tensor in network.state_dict().items()})
    network.load_state_dict(tensors)
    return tensors


@torch.no_grad()
def run(network: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    """Logits; a network of two paths gets both."""
    given: Any = clips
    if any("multipathway" in name for name in network.state_dict()):
        frames = clips.shape[2]
        given = [clips[:, :, torch.linspace(0, frames - 1, frames // 4).long()], clips]
    found: torch.Tensor = network(given)
    return found


def compare() -> None:
    """Print the largest logit and the largest difference of ours, of the full networks."""
    from timesformer.baselines.architectures import build_model
    from timesformer.weights.pytorchvideo import load_pytorchvideo

    for make, frames, side in ((x3d_s, 13, 160), (x3d_m, 16, 256), (i3d_r50, 8, 256), (slowfast_r50, 32, 256)):
        network = make(**({"head_activation": None} if "x3d" in make.__name__ else {})).eval()
        config = f"DATA: {{NUM_FRAMES: {frames}}}"
        contents = load_pytorchvideo({"model_state": drawn(network), "cfg": config}, Path(make.__name__))
        ours = build_model(contents.settings).eval()
        ours.load_state_dict(contents.tensors)
        clips = torch.randn(1, 3, frames, side, side, generator=torch.Generator().manual_seed(1))
        expected = run(network, clips)
        difference = float((run(ours, clips) - expected).abs().max())
        print(f"{make.__name__} {frames} x {side} x {side}: {float(expected.abs().max()):.2g}, {difference:.1e}")


if __name__ == "__main__" and sys.argv[1:] == ["full"]:
    compare()
elif __name__ == "__main__":
    for name, make in (("i3d", i3d_r50), ("slowfast", slowfast_r50), ("x3d_m", x3d_m)):
        tensors = make().state_dict()
        lines = [f"{key} {' '.join(map(str, tensor.shape))}".strip() + "\n" for key, tensor in tensors.items()]
        (ZOO / f"{name}.txt").write_text("".join(lines))
    (ZOO / "logits.json").write_text(json.dumps({name: logits(name) for name in SMALL}, indent=1) + "\n")
