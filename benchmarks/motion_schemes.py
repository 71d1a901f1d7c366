"""The paper's point in miniature: the demo's recipe and data, with each attention scheme.

    python benchmarks/motion_schemes.py [--out runs/motion_schemes] [SCHEME ...]

The eight classes come in pairs that are each other played backwards, so a model that is blind to the order of frames
can tell the pairs apart, four out of eight, and no more: at best 0.5 top-1. Beside the schemes stands ridge regression
on the pixels of 8 frames, in order and sorted over time. Exits with 1 unless divided attention reaches 0.95 and
space_only stays at or below 0.5, give or take three standard errors.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from timesformer.config import SCHEMES
from timesformer.data.manifest import read_manifest
from timesformer.data.motion import write_motion_data
from timesformer.demo import CLIPS
from timesformer.evaluation.evaluate import evaluate
from timesformer.recipes import load_recipe
from timesformer.training.fit import fit
from timesformer.video.source import open_video


def ridge(data: Path, *, blind: bool) -> float:
    """Test top-1 of ridge regression on 12 x 14 grey pixels of 8 frames; `blind` sorts each pixel over time."""

    def features(split: str) -> tuple[Tensor, Tensor]:
        manifest = read_manifest(data, split)
        rows = []
        for path, _ in manifest.videos:
            with open_video(path) as video:
                clip = video.read(range(3, 18, 2), 12).float().mean(0) / 255
            rows.append((clip.sort(0).values if blind else clip).flatten())
        return torch.stack(rows), torch.tensor([video.label for video in manifest.videos])

    x, y = features("train")
    mean = x.mean(0)
    targets = F.one_hot(y).float() - 1 / 8
    gram = (x - mean).T @ (x - mean)
    weights = torch.linalg.solve(gram + 10 * torch.eye(len(gram)), (x - mean).T @ targets)
    x, y = features("test")
    return float((((x - mean) @ weights).argmax(1) == y).float().mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "schemes",
        nargs="*",
        default=["divided_space_time", "space_only"],
        metavar="SCHEME",
        help=f"any of {', '.join(SCHEMES)}",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/motion_schemes"))
    arguments = parser.parse_args()
    data = arguments.out / "data"
    write_motion_data(data, CLIPS)
    table = Table("scheme", "test top-1", "seconds to train", box=None)
    for name, blind in (("ridge regression, frames in order", False), ("ridge regression, frames sorted", True)):
        table.add_row(name, f"{ridge(data, blind=blind):.3f}", "")
    top1 = {}
    for scheme in arguments.schemes:
        began = time.perf_counter()
        fit(load_recipe("demo", [f"model.scheme={scheme}"]), data, arguments.out / scheme, console=Console())
        seconds = time.perf_counter() - began
        result = evaluate(arguments.out / scheme, data)
        top1[scheme] = result.summary()["top1"]
        table.add_row(scheme, f"{result.summary()['top1']:.3f}", f"{seconds:.0f}")
        videos = len(result.paths)
    Console().print(table)
    blind = 0.5 + 3 * math.sqrt(0.25 / videos)
    failed = top1.get("divided_space_time", 1) < 0.95 or top1.get("space_only", 0) > blind
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
