"""One view of TimeSformer through this package's engines and through its peers, on this machine.

    python benchmarks/inference.py [--size base] [--frames 8] [--side 224] [--rounds 7] [--threads N] [--clock wall|cpu]
                                   [--only NAME ...] [--out FILE.json]

All run in one process, in turn, `rounds` times over, with the same random weights and the same clip; a peer that is not
installed is named and left out. Times are medians; the ratio of a row is the median over rounds of `transformers`' time
in that round over the row's. `products` is the share of an engine's time that its own matrix products take alone, at
the rates measured in the same rounds (oneDNN's linear layers; the batched products of attention). `--clock cpu` counts
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
from torch import Tensor, nn

from timesformer.config import Preprocessing
from timesformer.errors import TimesformerError
from timesformer.inference.engine import Engine, load_engine
from timesformer.inference.exported import Exported, onnx_graph, openvino_graph
from timesformer.inference.int8 import Bytes, Int8Linear
from timesformer.inference.linear import PackedLinear
from timesformer.model.timesformer import TimeSformer
from timesformer.video.transforms import normalise
from timesformer.weights import Classifier
from timesformer.weights.convert import save_as

BASE = "transformers"
OURS = [("eager", "fp32"), ("eager", "bf16"), ("eager", "int8"), ("openvino", "fp32"), ("openvino", "bf16"),
        ("onnx", "fp32"), ("compile", "bf16")]  # fmt: skip
Run = Callable[[], Tensor]


class Plain(nn.Module):
    """The model as it is trained, with normalisation before it; what is exported for a peer's plain graph."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.model, self.preprocessing = classifier.model, classifier.preprocessing

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.model(normalise(clips, self.preprocessing))
        return logits


def random_classifier(size: Any, frames: int, side: int) -> Classifier:
    """New weights; `temporal_fc`, which starts at zero, drawn too."""
    torch.manual_seed(0)
    model = TimeSformer(size=size, num_frames=frames, image_size=side).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if ".fc." in name and parameter.ndim == 2:
            parameter.normal_(0, 0.02)
    return Classifier(model, Preprocessing(), tuple(str(number) for number in range(400)))


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
                print(f"{name}: left out: {str(error).splitlines()[0]}", file=sys.stderr)
                continue
            found[name] = lambda clips, model=model: (
                model(normalise(clips, classifier.preprocessing).transpose(1, 2)).logits
            )
    return found


def candidates(classifier: Classifier, clips: Tensor, only: list[str]) -> dict[str, Callable[[Tensor], Tensor]]:
    """What runs, by name."""
    runs: dict[str, Callable[[Tensor], Tensor]] = transformers_models(classifier)
    plain = Plain(classifier).eval()
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
            print(f"{name}: left out: {error}", file=sys.stderr)
    return runs


def products(classifier: Classifier, precision: str) -> list[tuple[int, Run]]:
    """The matrix products of an engine's forward pass on one clip, each with how often it runs."""
    settings = classifier.model.settings
    width, depth, heads = settings.dimensions
    frames, places = settings.num_frames, (settings.image_size // settings.patch_size) ** 2
    rows, hidden = frames * (1 + places), int(width * settings.mlp_ratio)
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16

    def linear(inputs: int, outputs: int, ending: Any = "none", kind: str = precision) -> Run:
        weight, bias = torch.randn(outputs, inputs), torch.randn(outputs)
        if kind == "int8":
            gives = Bytes(0.1, 10) if ending == "gelu" else None
            layer: nn.Module = Int8Linear(weight, bias, ending, Bytes(0.02, 128), gives, dtype)
            x = torch.randint(0, 256, (rows, inputs), dtype=torch.uint8)
        else:
            layer, x = PackedLinear(weight.to(dtype), bias.to(dtype), ending), torch.randn(rows, inputs, dtype=dtype)
        return lambda: layer(x)

    def keys(count: int, length: int) -> Run:
        q, k = torch.randn(2, count * heads, length, width // heads, dtype=dtype).unbind(0)
        return lambda: torch.bmm(q, k.transpose(1, 2))

    def values(count: int, length: int) -> Run:
        scores = torch.randn(count * heads, length, length, dtype=dtype)
        v = torch.randn(count * heads, length, width // heads, dtype=dtype)
        return lambda: torch.bmm(scores, v)

    full, times = depth - 1, depth  # of the last block, time attention alone has products worth naming
    return [
        (1, linear(3 * settings.patch_size**2, width, kind="fp32" if precision == "fp32" else "bf16")),
        (full + times, linear(width, 3 * width)),
        (full + times, linear(width, width)),
        (full, linear(width, hidden, "gelu")),
        (full, linear(hidden, width)),
        (full, keys(frames, 1 + places)),
        (full, values(frames, 1 + places)),
        (times, keys(1 + places, frames)),
        (times, values(1 + places, frames)),
    ]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all in turn; times in seconds."""
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    classifier = random_classifier(arguments.size, arguments.frames, arguments.side)
    shape = (3, arguments.frames, arguments.side, arguments.side)
    clip = torch.randint(0, 256, (1, *shape), dtype=torch.uint8)
    runs = candidates(classifier, clip, arguments.only)
    times: dict[str, list[float]] = {name: [] for name in runs}
    limits: dict[str, list[float]] = {}
    pieces = {run.precision: products(classifier, run.precision) for run in runs.values() if isinstance(run, Engine)}

    def timed(run: Callable[[], Any]) -> float:
        start = clock()
        run()
        return clock() - start

    with torch.inference_mode():
        reference = classifier.model(normalise(clip, classifier.preprocessing))
        differences = {name: float((run(clip) - reference).abs().max()) for name, run in runs.items()}
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                times[name].append(timed(lambda run=run: run(clip)))
            for precision, parts in pieces.items():
                # Each product once to warm its caches, once to be timed.
                limit = sum(count * (part(), timed(part))[1] for count, part in parts)  # type: ignore[func-returns-value]
                limits.setdefault(precision, []).append(limit)
    rows = []
    for name, run in runs.items():
        ratio = statistics.median(base / own for base, own in zip(times[BASE], times[name], strict=True))
        row: dict[str, Any] = {"name": name, "seconds": statistics.median(times[name]), "ratio": ratio,
                               "difference": differences[name]}  # fmt: skip
        if isinstance(run, Engine):
            pairs = zip(limits[run.precision], times[name], strict=True)
            row["products"] = statistics.median(limit / own for limit, own in pairs)
        rows.append(row)
    return {"size": arguments.size, "frames": arguments.frames, "side": arguments.side, "threads": arguments.threads,
            "clock": arguments.clock, "rounds": arguments.rounds, "torch": torch.__version__, "rows": rows}  # fmt: skip


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
        share = f"{row['products']:.0%}" if "products" in row else ""
        table.add_row(
            row["name"], f"{row['seconds'] * 1e3:.0f}", f"{row['ratio']:.2f}", share, f"{row['difference']:.1e}"
        )
    Console().print(table)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
