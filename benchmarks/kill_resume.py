"""Kill a training run at random moments, resume it, and compare what it ends with to a run that was never stopped.

    python benchmarks/kill_resume.py [KILLS]

Every run uses what could come out of step: two worker processes, dropout, drop-path, RandAugment, mixup, averaged
weights, accumulation, checkpoints inside epochs. A run and its workers get SIGKILL after a random time, from about its
first step to its end; `--resume` then finishes it. Bit for bit the same must be: the classifier, the metrics file, and
in the last checkpoint the weights, the optimiser, the schedule and the averaged weights.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from timesformer.data.motion import write_motion_data

SETTINGS = (
    "model.width=32",
    "model.depth=2",
    "model.heads=2",
    "model.dropout=0.1",
    "model.drop_path=0.2",
    "augmentation.random_ops=2",
    "augmentation.erasing=0.3",
    "augmentation.mixup=0.3",
    "augmentation.repeats=2",
    "training.epochs=4",
    "training.batch_size=8",
    "training.accumulate=2",
    "training.ema=0.9",
    "training.checkpoint_steps=2",
    "training.device=cpu",
    "data.workers=2",
)


def command(data: Path, out: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "timesformer",
        "train",
        "--data",
        str(data),
        "--recipe",
        "demo",
        "--out",
        str(out),
        *SETTINGS,
    ]


def run(words: list[str], limit: float | None = None) -> bool:
    """Whether the command ended by itself; after `limit` seconds it and its children are killed."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0)
    try:
        _, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: exit code {process.returncode}\n{errors.decode()}")
    return True


def unequal(first: Any, second: Any, name: str) -> list[str]:
    """Names of what differs between two checkpoints."""
    if isinstance(first, dict) and isinstance(second, dict):
        return [
            found for key in {**first, **second} for found in unequal(first.get(key), second.get(key), f"{name}.{key}")
        ]
    if isinstance(first, list | tuple) and isinstance(second, list | tuple) and len(first) == len(second):
        return [
            found
            for number, (one, two) in enumerate(zip(first, second, strict=True))
            for found in unequal(one, two, f"{name}.{number}")
        ]
    same = torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second
    return [] if same else [name]


def differences(whole: Path, torn: Path) -> list[str]:
    """What the two finished runs do not have in common, but for times."""
    found = [
        name
        for name in ("model/model.safetensors", "model/config.json", "logs/metrics.csv")
        if (whole / name).read_bytes() != (torn / name).read_bytes()
    ]
    one, two = (torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (whole, torn))
    parts = ("state_dict", "optimizer_states", "lr_schedulers", "sums", "global_step", "epoch")
    return found + [name for part in parts for name in unequal(one[part], two[part], part)]


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_motion_data(place / "data", {"train": 6, "val": 2, "test": 1})
        begin = time.perf_counter()
        run(command(place / "data", place / "whole"))
        seconds = time.perf_counter() - begin
        print(f"a whole run: {seconds:.1f} s", flush=True)
        killed = equal = 0
        while killed < kills:
            torn, after = place / f"torn{killed}", draw.uniform(0.3 * seconds, seconds)
            if run(command(place / "data", torn), after):
                shutil.rmtree(torn)  # this one was faster, and ended: it does not count
                continue
            killed += 1
            last = torn / "checkpoints" / "last.ckpt"
            step = torch.load(last, weights_only=True)["global_step"] if last.exists() else "none"
            started = (torn / "sessions.yaml").exists()
            train = [sys.executable, "-m", "timesformer", "train"]
            run([*train, "--resume", str(torn)] if started else command(place / "data", torn))
            found = differences(place / "whole", torn)
            equal += not found
            result = f"differs: {found[:4]}" if found else "bit-equal"
            print(f"{killed:3}  killed after {after:4.1f} s, last checkpoint of step {step:4}  {result}", flush=True)
        print(f"{equal} of {kills} bit-equal")
    sys.exit(equal < kills)


if __name__ == "__main__":
    main()
