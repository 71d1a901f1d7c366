"""Time and peak memory of a training step by what is trained (`training.trainable`).

    python benchmarks/trainable.py [--batch 4] [--device cuda]

A step is forward, loss, backward and a fused AdamW step of a model at 8 x 224 x 224 (base), whose head alone is new.
Every run is a process of its own, so that its peak memory is its own; runs take turns, `--rounds` times, each with
`--steps` steps after two others. Printed: medians, and their ratios to training all. On a CPU memory is the process's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from timesformer.bench.timing import forget_peak, timed
from timesformer.bench.train import Step
from timesformer.config import TimeSformerSettings, Training
from timesformer.device import peak_memory

ROWS: dict[str, dict[str, Any]] = {
    "all": {},
    "last 4 blocks": {"trainable": "last_blocks", "last_blocks": 4},
    "parts for video": {"trainable": "video"},
    "adapters, rank 8": {"trainable": "adapters", "adapter_rank": 8},
}
SHAPE = ("size", "scheme", "num_frames", "image_size")


def run_alone(arguments: argparse.Namespace) -> dict[str, Any]:
    """One run in this process."""
    torch.set_num_threads(arguments.threads)
    settings = TimeSformerSettings(**{name: getattr(arguments, name) for name in SHAPE})
    training = Training(**ROWS[arguments.alone])
    step = Step(settings, arguments.batch, arguments.precision, arguments.device, training=training)
    for _ in range(2):  # the first makes the optimiser's state
        step()
    forget_peak(step.device)
    seconds = [timed(step, step.device) for _ in range(arguments.steps)]
    mib = peak_memory(step.device) / 2**20
    ran = f"{step.precision}, {step.device.type}"
    return {"seconds": statistics.median(seconds), "mib": mib, "trained": step.trained, "ran": ran}


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All runs in turn, each in a process of its own: a row of each."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ROWS}
    names = (*SHAPE, "batch", "precision", "device", "steps", "threads")
    common = [f"--{name.replace('_', '-')}={getattr(arguments, name)}" for name in names]
    for _ in range(arguments.rounds):
        for name in ROWS:
            command = [sys.executable, "-W", "ignore", __file__, *common, "--alone", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {found[name][-1]}", file=sys.stderr, flush=True)
    whole = found["all"]
    return [
        {
            "name": name,
            "trained": runs[0]["trained"],
            "ran": runs[0]["ran"],
            "seconds": statistics.median(run["seconds"] for run in runs),
            "time": statistics.median(run["seconds"] / all_["seconds"] for run, all_ in zip(runs, whole, strict=True)),
            "mib": statistics.median(run["mib"] for run in runs),
            "memory": statistics.median(run["mib"] / all_["mib"] for run, all_ in zip(runs, whole, strict=True)),
        }
        for name, runs in found.items()
    ]


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="base", choices=["tiny", "small", "base", "large"])
    parser.add_argument("--scheme", default="divided_space_time")
    parser.add_argument("--num-frames", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--alone", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(run_alone(arguments)))
        return
    rows = measure(arguments)
    shape = f"{arguments.num_frames} x {arguments.image_size}, {arguments.batch} clips, {rows[0]['ran']}"
    table = Table(
        "trained", "M parameters", "s a step", "of all", "peak MiB", "of all", title=f"{arguments.size}, {shape}"
    )
    for row in rows:
        time, memory = f"{row['time']:.2f}", f"{row['memory']:.2f}"
        values = (f"{row['trained'] / 1e6:.2f}", f"{row['seconds']:.3g}", time, f"{row['mib']:.0f}", memory)
        table.add_row(row["name"], *values)
    Console().print(table)


if __name__ == "__main__":
    main()
