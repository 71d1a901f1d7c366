"""Throughput and memory on a CUDA card: inference and training, this package and `transformers`.

    python benchmarks/gpu.py --out gpu.json
    python benchmarks/gpu.py --device cpu --size tiny --models base --clips 1 --rounds 1     # tries the script itself

Models: the paper's base (8 x 224 x 224), HR (16 x 448 x 448) and L (96 x 224 x 224), random weights. Printed are clips
a second, their ratio to `transformers` in float32, the fraction of the card's bf16 peak, and peak memory. The peak
is measured in the same run, by products of two 8192 x 8192 matrices; the model's own products (the linear layers of a
block, for the clips of one call) are measured beside it. The arithmetic of a clip is what torch's FLOP counter finds in
the model; a training step counts three times that, recomputed products not at all.

Inference: ours takes uint8 clips from the host's memory to logits; peers get normalised clips that already lie on the
card, in their own type. Runs take turns. Training: ours is what `timesformer train` runs (fused AdamW, clipping), from
uint8 clips in pinned memory; peers get clips on the card. Each run is built anew in every round.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from training_step import CLASSES, run_ours  # beside this file

from timesformer import TimeSformer
from timesformer.baselines.cost import count_cost
from timesformer.config import Preprocessing
from timesformer.engine.engine import load_engine
from timesformer.errors import TimesformerError
from timesformer.weights.classifier import Classifier
from timesformer.weights.convert import save_as

PEER = "transformers, fp32"
ENGINES = [("eager", "fp32"), ("eager", "bf16"), ("compile", "bf16")]
TRAINING = {
    "ours, bf16": {"checkpointing": "none", "compiled": False},
    "ours, bf16, cheap": {"checkpointing": "cheap", "compiled": False},
    "ours, bf16, compiled": {"checkpointing": "none", "compiled": True},
}


class Shape(NamedTuple):
    """Clips of a model, and how many of them a card takes at once."""

    frames: int
    side: int
    inference: int
    training: int


MODELS = {"base": Shape(8, 224, 32, 16), "hr": Shape(16, 448, 8, 4), "large": Shape(96, 224, 8, 4)}


class Card:
    """A device: its clock, its memory, its matrix products."""

    def __init__(self, name: str) -> None:
        self.device = torch.device(name)
        self.cuda = self.device.type == "cuda"

    def synchronize(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, run: Callable[[], Any], calls: int) -> float:
        """Seconds of a call, the card idle before and after all of them."""
        self.synchronize()
        begin = time.perf_counter()
        for _ in range(calls):
            run()
        self.synchronize()
        return (time.perf_counter() - begin) / calls

    def forget(self) -> None:
        """Free what is not used, and count peak memory from here."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> float | None:
        """GiB at the most since `forget`; None on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) / 2**30 if self.cuda else None

    def products(self, *shapes: tuple[int, int, int]) -> float:
        """bf16 FLOP/s of the products (n, k) x (k, m) one after the other."""
        pairs = [
            (
                torch.randn(n, k, device=self.device, dtype=torch.bfloat16),
                torch.randn(k, m, device=self.device, dtype=torch.bfloat16),
            )
            for n, k, m in shapes
        ]
        for a, b in pairs:
            torch.mm(a, b)
        calls = 20 if self.cuda else 1
        taken = self.seconds(lambda: [torch.mm(a, b) for a, b in pairs], calls)
        return sum(2 * n * k * m for n, k, m in shapes) / taken


def own_products(model: TimeSformer, shape: Shape) -> list[tuple[int, int, int]]:
    """The linear layers of a divided block, for the clips of one inference call."""
    width = model.settings.dimensions.width
    rows = shape.inference * shape.frames * (shape.side // model.settings.patch_size) ** 2
    step = [(rows, width, 3 * width), (rows, width, width)]
    return [*step, (rows, width, width), *step, (rows, width, 4 * width), (rows, 4 * width, width)]


def peers(classifier: Classifier, only: str = "") -> dict[str, tuple[Any, torch.dtype]]:
    """`transformers` with the same weights: its model and the type it computes in, by name."""
    from transformers import TimesformerForVideoClassification

    found: dict[str, tuple[Any, torch.dtype]] = {}
    variants: list[tuple[str, torch.dtype, dict[str, Any]]] = [
        (PEER, torch.float32, {}),
        ("transformers, bf16", torch.bfloat16, {}),
        ("transformers, sdpa, bf16", torch.bfloat16, {"attn_implementation": "sdpa"}),
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = save_as(classifier, Path(folder) / "hf", "huggingface")
        for name, dtype, options in variants:
            if only not in ("", name):
                continue
            try:
                model = TimesformerForVideoClassification.from_pretrained(path, **options)
            except ValueError as error:
                print(f"{name}: skipped: {str(error).splitlines()[0]}", file=sys.stderr)
                continue
            found[name] = (model, dtype)
    return found


def infer(card: Card, classifier: Classifier, shape: Shape, rounds: int) -> dict[str, Any]:
    """Seconds of a call with `shape.inference` clips, by name, and the peak memory of each run."""
    clips = torch.randint(256, (shape.inference, 3, shape.frames, shape.side, shape.side), dtype=torch.uint8)
    runs: dict[str, Callable[[], Tensor]] = {}
    for name, (model, dtype) in peers(classifier).items():
        model = model.eval().to(card.device, dtype)
        pixels = torch.randn(shape.inference, shape.frames, 3, shape.side, shape.side, device=card.device, dtype=dtype)
        runs[name] = lambda model=model, pixels=pixels: model(pixels).logits
    for kind, precision in ENGINES:
        name = f"ours, {kind}, {precision}"
        try:
            engine = load_engine(classifier, kind, precision, device=str(card.device), clips=clips[:1])  # type: ignore[arg-type]
        except TimesformerError as error:
            print(f"{name}: skipped: {error}", file=sys.stderr)
            continue
        print(f"{name}: {engine}", file=sys.stderr)
        runs[name] = lambda engine=engine: engine(clips)
    found: dict[str, Any] = {name: {"seconds": [], "gib": None} for name in runs}
    with torch.inference_mode():
        for number in range(rounds + 1):  # the first round warms up and is not counted
            for name in list(runs):
                card.forget()
                try:
                    taken = card.seconds(runs[name], 5 if card.cuda and number else 1)
                except torch.OutOfMemoryError:
                    print(f"{name}: out of memory at {shape.inference} clips", file=sys.stderr)
                    del runs[name], found[name]
                    continue
                if number:
                    found[name]["seconds"].append(taken)
                    found[name]["gib"] = card.peak()
    return found


def train(card: Card, size: str, classifier: Classifier, shape: Shape, rounds: int, steps: int) -> dict[str, Any]:
    """Seconds of a step with `shape.training` clips, by name, and peak memory."""

    def peer(name: str) -> list[float]:
        model, dtype = peers(classifier, name)[name]
        return train_peer(card, model, dtype, shape, steps)

    runs: dict[str, Callable[[], list[float]]] = {
        name: lambda name=name: peer(name) for name in (PEER, "transformers, bf16")
    }
    for name, options in TRAINING.items():
        if options["compiled"] and not card.cuda:
            continue
        runs[name] = lambda options=options: run_ours(
            size,
            shape.training,
            steps,
            "bf16-mixed",
            **options,
            frames=shape.frames,
            side=shape.side,
            device=card.device.type,
        )
    found: dict[str, Any] = {name: {"seconds": [], "gib": None} for name in runs}
    for _ in range(rounds):
        for name in list(runs):
            card.forget()
            try:
                times = runs[name]()
            except (torch.OutOfMemoryError, TimesformerError) as error:
                print(f"{name}: skipped at {shape.training} clips: {error}", file=sys.stderr)
                del runs[name], found[name]
                continue
            found[name]["seconds"].append(statistics.median(times[len(times) // 2 :]))
            found[name]["gib"] = card.peak()
    return found


def train_peer(card: Card, model: Any, dtype: torch.dtype, shape: Shape, steps: int) -> list[float]:
    """`transformers` with a fused AdamW; bf16 by autocast, as its own Trainer does it."""
    model = model.train().to(card.device)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    pixels = torch.randn(shape.training, shape.frames, 3, shape.side, shape.side, device=card.device)
    labels = torch.arange(shape.training, device=card.device) % CLASSES

    def step() -> None:
        with torch.autocast(card.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = model(pixels, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return [card.seconds(step, 1) for _ in range(steps)]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All models, inference and training."""
    card = Card(arguments.device)
    big = 8192 if card.cuda else 1024
    peaks = [card.products((big, big, big)) for _ in range(arguments.rounds)]
    rows = []
    for name in arguments.models:
        shape = MODELS[name]
        if arguments.clips:
            shape = shape._replace(inference=arguments.clips, training=arguments.clips)
        torch.manual_seed(0)
        model = TimeSformer(
            size=arguments.size, num_frames=shape.frames, image_size=shape.side, num_classes=CLASSES
        ).requires_grad_(False)
        for key, parameter in model.named_parameters():
            if ".fc." in key and parameter.ndim == 2:
                parameter.normal_(0, 0.02)
        classifier = Classifier(model, Preprocessing(), tuple(map(str, range(CLASSES))))
        flops = 2 * count_cost(model.settings).macs
        own = card.products(*own_products(model, shape))
        for what, clips, factor, found in (
            ("inference", shape.inference, 1, infer(card, classifier, shape, arguments.rounds)),
            (
                "training",
                shape.training,
                3,
                train(card, arguments.size, classifier, shape, arguments.rounds, arguments.steps),
            ),
        ):
            peak = statistics.median(peaks)
            for run, measured in found.items():
                speed = clips / statistics.median(measured["seconds"])
                beside = found.get(PEER)
                rows.append(
                    {
                        "model": name,
                        "what": what,
                        "name": run,
                        "clips": clips,
                        "clips_a_second": speed,
                        "faster": None
                        if beside is None
                        else statistics.median(
                            a / b for a, b in zip(beside["seconds"], measured["seconds"], strict=True)
                        ),
                        "of_peak": speed * flops * factor / peak,
                        "of_own_products": speed * flops * factor / own,
                        "gib": measured["gib"],
                    }
                )
    name = torch.cuda.get_device_name(card.device) if card.cuda else "CPU"
    return {
        "device": name,
        "torch": torch.__version__,
        "size": arguments.size,
        "rounds": arguments.rounds,
        "peak_tflops": statistics.median(peaks) / 1e12,
        "rows": rows,
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu only tries the script")
    parser.add_argument("--size", default="base", choices=["tiny", "small", "base", "large"])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--clips", type=int, help="clips a call, instead of each model's own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="training steps of a run; the later half is timed")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device on this machine: nothing is measured (--device cpu --size tiny tries the script)")
    warnings.simplefilter("ignore")
    result = measure(arguments)
    print(f"{result['device']}: {result['peak_tflops']:.1f} TFLOP/s in bf16 products; times as fast as {PEER}")
    table = Table("model", "", "", "clips/s", "as fast", "of peak", "of own products", "GiB")
    for row in result["rows"]:
        table.add_row(
            row["model"],
            row["what"],
            row["name"],
            f"{row['clips_a_second']:.1f}",
            "" if row["faster"] is None else f"{row['faster']:.2f}",
            f"{row['of_peak']:.0%}",
            f"{row['of_own_products']:.0%}",
            "" if row["gib"] is None else f"{row['gib']:.1f}",
        )
    Console().print(table)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
