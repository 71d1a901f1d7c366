"""The paper's point in miniature: the demo's recipe and data, with each attention scheme.

    python benchmarks/motion_schemes.py [--out runs/motion_schemes] [SCHEME ...]

The eight classes come in pairs that are each other played backwards, so a model that is blind to the order of frames
can tell the pairs apart, four out of eight, and no more: at best 0.5 top-1. Exits with 1 unless divided attention
reaches 0.95 and space_only stays at or below that bound, give or take three standard errors.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from timesformer.cli.demo import CLIPS
from timesformer.config import Data, load_recipe
from timesformer.data.manifest import read_manifest
from timesformer.data.motion import write_motion_data
from timesformer.evaluation.test import test
from timesformer.model.schemes import SCHEMES
from timesformer.training.fit import fit
from timesformer.weights import open_weights


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("schemes", nargs="*", default=["divided_space_time", "space_only"], metavar="SCHEME",
                        help=f"any of {', '.join(SCHEMES)}")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/motion_schemes"))
    arguments = parser.parse_args()
    data = arguments.out / "data"
    write_motion_data(data, CLIPS)
    table = Table("scheme", "test top-1", "seconds to train", box=None)
    top1 = {}
    for scheme in arguments.schemes:
        began = time.perf_counter()
        fit(load_recipe("demo", [f"model.scheme={scheme}"]), data, arguments.out / scheme, console=Console())
        seconds = time.perf_counter() - began
        result = test(open_weights(arguments.out / scheme), read_manifest(data, "test"), Data())
        top1[scheme] = result.metrics.top1
        table.add_row(scheme, f"{result.metrics.top1:.3f}", f"{seconds:.0f}")
        videos = len(result.paths)
    Console().print(table)
    blind = 0.5 + 3 * math.sqrt(0.25 / videos)
    failed = top1.get("divided_space_time", 1) < 0.95 or top1.get("space_only", 0) > blind
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
