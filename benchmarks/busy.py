"""What a view and a training step take on a quiet machine, and beside another program: how waiting threads should wait.

    python benchmarks/busy.py --settings before=GOMP_SPINCOUNT=300000 now=

libgomp's threads spin while they wait for work, 300,000 turns by default. Each `--settings NAME=VARIABLE=VALUE` is an
environment variable to compare ("NAME=": none, what commands choose). Every run is a process of its own; runs take
turns, `--rounds` times; "busy" is beside a process that multiplies matrices in two threads as torch comes. Printed are
medians of seconds, quiet and busy, their ratio, and quiet against the first setting.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

JOBS = {"tiny": 40, "demo": 60, "small": 6, "base": 3, "step": 6}  # repetitions that are timed
MATRICES = "import torch\na = torch.randn(256, 256)\nwhile True: a @ a"


def job(name: str) -> Callable[[], object]:
    """A view of a size, of the demo's model, or a training step of finetune-small."""
    from timesformer.threads import wait_briefly

    wait_briefly()  # as commands do, before torch is loaded
    import torch

    from timesformer.bench.model import random_classifier
    from timesformer.bench.train import Step
    from timesformer.config import TimeSformerSettings
    from timesformer.engine.engine import load_engine
    from timesformer.recipes import load_recipe

    torch.manual_seed(0)
    if name == "step":
        recipe = load_recipe("finetune-small")
        return Step(recipe.model, recipe.training.batch_size, "bf16", "cpu")  # type: ignore[union-attr]
    settings = load_recipe("demo").model if name == "demo" else TimeSformerSettings(size=name)  # type: ignore[arg-type]
    engine = load_engine(random_classifier(settings), "eager", "fp32", device="cpu")  # type: ignore[arg-type]
    clips = torch.randint(
        0, 256, (1, 3, settings.num_frames, settings.image_size, settings.image_size), dtype=torch.uint8
    )
    return lambda: engine(clips)


def run_job(name: str) -> None:
    """A run in this process: the median of its seconds."""
    run = job(name)
    for _ in range(2):
        run()
    times = []
    for _ in range(JOBS[name]):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    print(statistics.median(times))


def measure(names: list[str], settings: dict[str, dict[str, str]], rounds: int) -> list[dict[str, Any]]:
    """All runs in turn; the medians of each job and setting."""
    found: dict[tuple[str, str, bool], list[float]] = {}
    for _ in range(rounds):
        for busy in (False, True):
            other = subprocess.Popen([sys.executable, "-c", MATRICES]) if busy else None
            time.sleep(3 if busy else 0)
            try:
                for name in names:
                    for setting, variables in settings.items():
                        command = [sys.executable, __file__, "--job", name]
                        done = subprocess.run(
                            command, env=os.environ | variables, capture_output=True, text=True, check=True
                        )
                        seconds = float(done.stdout)
                        found.setdefault((name, setting, busy), []).append(seconds)
                        where = "busy" if busy else "quiet"
                        print(f"{name}, {setting}, {where}: {seconds:.4f} s", file=sys.stderr, flush=True)
            finally:
                if other is not None:
                    other.kill()
                    other.wait()
    rows = []
    for name in names:
        for setting in settings:
            quiet, busy_ = (statistics.median(found[name, setting, busy]) for busy in (False, True))
            rows.append({"job": name, "setting": setting, "quiet": quiet, "busy": busy_, "rounds": rounds})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--settings", nargs="+", default=["before=GOMP_SPINCOUNT=300000", "now="])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        run_job(arguments.job)
        return
    settings = {}
    for text in arguments.settings:
        name, _, variables = text.partition("=")
        settings[name] = dict([variables.split("=")]) if variables else {}
    rows = measure(arguments.jobs, settings, arguments.rounds)
    if arguments.json:
        print(json.dumps(rows))
        return
    table = Table("job", "setting", "quiet, s", "busy, s", "busy / quiet", "quiet / first", box=None)
    first = {row["job"]: row["quiet"] for row in reversed(rows)}
    for row in rows:
        ratios = (row["busy"] / row["quiet"], row["quiet"] / first[row["job"]])
        table.add_row(
            row["job"],
            row["setting"],
            f"{row['quiet']:.4f}",
            f"{row['busy']:.4f}",
            *(f"{ratio:.2f}" for ratio in ratios),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
