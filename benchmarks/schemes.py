"""Time of attention schemes against each other, in turn in one process.

    python benchmarks/schemes.py [--frames 16] [--side 224] [--rounds 3] [--size base] [--precision auto]
                                 [--schemes joint_space_time sparse_local_global axial]

Random weights, one clip, `load_engine`'s engine. All schemes run once a round; the ratio of a scheme is the median over
rounds of the first scheme's time in that round over its own, so what else the machine does falls on all of them.
"""

from __future__ import annotations

import argparse
import statistics
from typing import get_args

import torch
from rich.console import Console
from rich.table import Table

from timesformer.bench.model import random_classifier
from timesformer.bench.timing import Spread, timed
from timesformer.config import Scheme, TimeSformerSettings
from timesformer.engine.engine import load_engine


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="base")
    parser.add_argument("--precision", default="auto")
    parser.add_argument(
        "--schemes", nargs="+", choices=get_args(Scheme), default=["joint_space_time", "sparse_local_global", "axial"]
    )
    given = parser.parse_args()
    small = torch.randint(0, 256, (1, 3, 2, 32, 32), dtype=torch.uint8)  # what the engines are checked with
    clip = torch.randint(0, 256, (1, 3, given.frames, given.side, given.side), dtype=torch.uint8)
    engines = {
        scheme: load_engine(
            random_classifier(
                TimeSformerSettings(size=given.size, scheme=scheme, num_frames=given.frames, image_size=given.side)
            ),
            precision=given.precision,
            clips=small,
        )
        for scheme in given.schemes
    }
    times: dict[str, list[float]] = {scheme: [] for scheme in engines}
    for number in range(given.rounds + 1):
        for scheme, engine in engines.items():
            taken = timed(lambda engine=engine: engine(clip), engine.device)
            if number:  # the first round warms up
                times[scheme].append(taken)
    first = times[given.schemes[0]]
    table = Table("", "s", "smallest", "largest", f"times as fast as {given.schemes[0]}")
    for scheme, own in times.items():
        ratio = statistics.median(base / one for base, one in zip(first, own, strict=True))
        table.add_row(scheme, *(f"{value:.3g}" for value in Spread.of(own)), f"{ratio:.2f}")
    engine = next(iter(engines.values()))
    console = Console()
    console.print(
        f"{given.size}, {given.frames} x {given.side} x {given.side}, batch 1, {engine.engine} "
        f"{engine.precision}, {torch.get_num_threads()} threads, {given.rounds} rounds"
    )
    console.print(table)


if __name__ == "__main__":
    main()
