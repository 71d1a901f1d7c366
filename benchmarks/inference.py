"""One view of TimeSformer through this package's engines and through its peers, on this machine.

    python benchmarks/inference.py [--size base] [--frames 8] [--side 224] [--rounds 7] [--threads N] [--clock wall|cpu]
                                   [--only NAME ...] [--out FILE.json]

All run in one process, in turn, `rounds` times over, with the same random weights and the same clip; a peer that is not
installed is named and skipped. Times are medians; the ratio of a row is the median over rounds of `transformers`' time
in that round over the row's. `products` is the fraction of an engine's time that its own matrix products take alone, at
the rates measured in the same rounds (`timesformer.bench.limit`). `--clock cpu` counts
processor time instead of wall time: with `--threads 1`, what to use on a machine that is busy with something else.

    transformers*          TimesformerForVideoClassification; as it comes, and with sdpa attention where it has that
    *, plain graph         this package's model as it is trained, exported to the runtime
    ours, *                load_engine; its logits have been compared with the float32 model's
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from timesformer.bench.limit import Limits
from timesformer.bench.model import random_classifier
from timesformer.bench.products import inference_products
from timesformer.bench.timing import timed
from timesformer.config import TimeSformerSettings
from timesformer.engine.engine import Engine, load_engine
from timesformer.engine.exported import Exported, onnx_graph, openvino_graph
from timesformer.engine.network import PlainNetwork
from timesformer.errors import TimesformerError
from timesformer.video.transforms import normalise
from timesformer.weights.classifier import Classifier
from timesformer.weights.convert import save_as

BASE = "transformers"
OURS = [
    ("eager", "fp32"),
    ("eager", "bf16"),
    ("eager", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("onnx", "fp32"),
    ("compile", "bf16"),
]


def transformers_models(classifier: Classifier) -> dict[str, Callable[[Tensor], Tensor]]:
    """The same weights in transformers."""
    from transformers import TimesformerForVideoClassification

    found: dict[str, Callable[[Tensor], Tensor]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = save_as(classifier, Path(folder) / "hf", "huggingface")
        for name, options in ((BASE, {}), ("transformers, sdpa", {"attn_implementation": "sdpa"})):
            try:
                model = TimesformerForVideoClassification.from_pretrained(path, **options).eval()
            except ValueError as error:
                print(f"{name}: skipped: {str(error).splitlines()[0]}", file=sys.stderr)
                continue
            found[name] = lambda clips, model=model: (
                model(normalise(clips, classifier.preprocessing).transpose(1, 2)).logits
            )
    return found


def candidates(classifier: Classifier, clips: Tensor, only: list[str]) -> dict[str, Callable[[Tensor], Tensor]]:
    """What runs, by name."""
    runs: dict[str, Callable[[Tensor], Tensor]] = transformers_models(classifier)
    plain = PlainNetwork(classifier.model, classifier.preprocessing).eval()
    graphs = {
        "openvino, plain graph, fp32": lambda: openvino_graph(False),
        "openvino, plain graph, bf16": lambda: openvino_graph(True),
        "onnx, plain graph, fp32": onnx_graph,
    }
    chosen = {f"ours, {engine}, {precision}": (engine, precision) for engine, precision in OURS}
    for name in [*graphs, *chosen]:
        if only and name not in only:
            continue
        try:
            if name in graphs:
                runs[name] = Exported(plain, graphs[name]())
            else:
                runs[name] = load_engine(classifier, *chosen[name], device="cpu", clips=clips)
                print(f"{name}: {runs[name]}", file=sys.stderr)
        except TimesformerError as error:
            print(f"{name}: skipped: {error}", file=sys.stderr)
    return runs


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all in turn; times in seconds."""
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    settings = TimeSformerSettings(size=arguments.size, num_frames=arguments.frames, image_size=arguments.side)
    classifier = random_classifier(settings)
    shape = (3, arguments.frames, arguments.side, arguments.side)
    clip = torch.randint(0, 256, (1, *shape), dtype=torch.uint8)
    runs = candidates(classifier, clip, arguments.only)
    times: dict[str, list[float]] = {name: [] for name in runs}
    limits: dict[str, list[float]] = {}
    products = inference_products(settings, clip.shape)
    pieces = {
        run.precision: Limits(products, run.precision, clip.device) for run in runs.values() if isinstance(run, Engine)
    }

    with torch.inference_mode():
        reference = classifier.model(normalise(clip, classifier.preprocessing))
        differences = {name: float((run(clip) - reference).abs().max()) for name, run in runs.items()}
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                times[name].append(timed(lambda run=run: run(clip), clip.device, clock))
            for precision, parts in pieces.items():
                limits.setdefault(precision, []).append(parts.measure(clock).seconds)
    rows = []
    for name, run in runs.items():
        ratio = statistics.median(base / own for base, own in zip(times[BASE], times[name], strict=True))
        row: dict[str, Any] = {
            "name": name,
            "seconds": statistics.median(times[name]),
            "ratio": ratio,
            "difference": differences[name],
        }
        if isinstance(run, Engine):
            pairs = zip(limits[run.precision], times[name], strict=True)
            row["products"] = statistics.median(limit / own for limit, own in pairs)
        rows.append(row)
    return {
        "size": arguments.size,
        "frames": arguments.frames,
        "side": arguments.side,
        "threads": arguments.threads,
        "clock": arguments.clock,
        "rounds": arguments.rounds,
        "torch": torch.__version__,
        "rows": rows,
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="base", choices=["tiny", "small", "base", "large"])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--only", nargs="*", default=[], help="names of rows; transformers always runs")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    result = measure(arguments)
    table = Table("", "ms", f"times as fast as {BASE}", "products", "largest difference of a logit")
    for row in result["rows"]:
        fraction = f"{row['products']:.0%}" if "products" in row else ""
        table.add_row(
            row["name"], f"{row['seconds'] * 1e3:.0f}", f"{row['ratio']:.2f}", fraction, f"{row['difference']:.1e}"
        )
    Console().print(table)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
