"""A training step on this machine's CPU: `transformers` in float32 as it comes, and this package.

    python benchmarks/training_step.py

A step is forward, loss, backward, clipping and a fused AdamW step, of the base model at 8 x 224 x 224 with 4 clips.
Ours is what `timesformer train` runs: its task in its Lightning Trainer. Every run is a process of its own, so that its
peak memory (VmHWM) is its own; runs take turns, `--rounds` times, each timing `--steps` steps after `--warm` others.
Printed: medians of the time of `transformers` over ours of the same round, and of our peak memory over theirs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

PEER = "transformers, float32"
OURS = {
    "ours, 32-true": ("32-true", "none"),
    "ours, bf16-mixed": ("bf16-mixed", "none"),
    "ours, bf16-mixed, cheap": ("bf16-mixed", "cheap"),
    "ours, bf16-mixed, blocks": ("bf16-mixed", "blocks"),
}
CLASSES = 400


def run_peer(size: str, clips: int, steps: int) -> list[float]:
    """Seconds of each step of `transformers`."""
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    from timesformer.config import SIZES

    width, depth, heads = SIZES[size]  # type: ignore[index]
    model = TimesformerForVideoClassification(
        TimesformerConfig(
            num_labels=CLASSES,
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=4 * width,
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    pixels, labels = torch.randn(clips, 8, 3, 224, 224), torch.arange(clips)
    times = []
    for _ in range(steps):
        begin = time.perf_counter()
        model(pixels, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - begin)
    return times


def run_ours(
    size: str,
    clips: int,
    steps: int,
    precision: str,
    checkpointing: str,
    *,
    compiled: bool = False,
    frames: int = 8,
    side: int = 224,
    device: str = "cpu",
) -> list[float]:
    """Seconds of each step of the package."""
    from lightning.pytorch.callbacks import Checkpoint
    from torch.utils.data import DataLoader

    from timesformer.config import Recipe
    from timesformer.data.dataset import Batch
    from timesformer.data.lists import LabelledVideo
    from timesformer.data.manifest import Manifest
    from timesformer.training.launch import find_launch
    from timesformer.training.plan import TrainingPlan
    from timesformer.training.task import ClassificationTask
    from timesformer.training.trainer import make_trainer
    from timesformer.weights.initialise import initialise_classifier

    class Clock(Checkpoint):
        """Times steps from end to end, so that fetching and moving a batch counts; the first has the start in it too.
        As a Checkpoint it keeps Lightning from writing one of its own."""

        def __init__(self) -> None:
            self.begin, self.times = time.perf_counter(), list[float]()

        def on_train_batch_end(self, *args: Any) -> None:
            if device == "cuda":
                torch.cuda.synchronize()
            end = time.perf_counter()
            self.times.append(end - self.begin)
            self.begin = end

    recipe = Recipe.model_validate(
        {
            "model": {"size": size, "num_frames": frames, "image_size": side},
            "augmentation": {"short_side": [side, side]},
            "optimizer": {"name": "adamw", "clip_gradient": 1.0, "schedule": "constant"},
            "training": {
                "device": device,
                "epochs": 1,
                "batch_size": clips,
                "precision": precision,
                "checkpoint_activations": checkpointing,
                "compile": compiled,
            },
        }
    )
    labels = tuple(map(str, range(CLASSES)))
    videos = tuple(LabelledVideo(Path(f"{number}.mp4"), (number,)) for number in range(clips))
    manifest = Manifest(Path("none"), Path("none"), "train", labels, videos)
    views, numbers = torch.randint(256, (clips, 3, frames, side, side), dtype=torch.uint8), torch.arange(clips)
    batch = Batch(views, torch.ones_like(numbers), numbers, numbers, [])
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        initialised = initialise_classifier(recipe.model, recipe.preprocessing, labels)
        plan = TrainingPlan(recipe, manifest, None, initialised, Path(folder), find_launch(), {})
        task = ClassificationTask(initialised.classifier, recipe, manifest, clips, {})
        make_trainer(plan, [clock]).fit(task, DataLoader([batch] * steps, batch_size=None, pin_memory=device == "cuda"))
    return clock.times


def run_alone(arguments: argparse.Namespace) -> None:
    """One run in this process; its times and its peak memory as JSON."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    common = (arguments.size, arguments.clips, arguments.warm + arguments.steps)
    times = run_peer(*common) if arguments.alone == PEER else run_ours(*common, *OURS[arguments.alone])
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    print(json.dumps({"seconds": statistics.median(times[arguments.warm :]), "mib": peak}))


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All runs in turn, each in a process of its own."""
    names = [PEER, *(name for name in OURS if not arguments.only or name in arguments.only)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    common = [f"--{key}={getattr(arguments, key)}" for key in ("size", "clips", "warm", "steps", "threads")]
    for _ in range(arguments.rounds):
        for name in names:
            command = [sys.executable, __file__, *common, "--alone", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {found[name][-1]}", file=sys.stderr, flush=True)
    rows = []
    for name in names:
        pairs = list(zip(found[PEER], found[name], strict=True))
        rows.append(
            {
                "name": name,
                "seconds": statistics.median(own["seconds"] for own in found[name]),
                "mib": statistics.median(own["mib"] for own in found[name]),
                "faster": statistics.median(peer["seconds"] / own["seconds"] for peer, own in pairs),
                "memory": statistics.median(own["mib"] / peer["mib"] for peer, own in pairs),
            }
        )
    kept = ("size", "clips", "rounds", "warm", "steps", "threads")
    return {key: getattr(arguments, key) for key in kept} | {"torch": torch.__version__, "rows": rows}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="base", choices=["tiny", "small", "base", "large"])
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="*", default=[], choices=OURS, help="rows beside transformers")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    parser.add_argument("--alone", choices=[PEER, *OURS], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        run_alone(arguments)
        return
    result = measure(arguments)
    table = Table("", "s a step", "as fast", "peak MiB", "memory", title=f"ratios to {PEER}")
    for row in result["rows"]:
        table.add_row(
            row["name"], f"{row['seconds']:.2f}", f"{row['faster']:.2f}", f"{row['mib']:.0f}", f"{row['memory']:.2f}"
        )
    Console().print(table)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
