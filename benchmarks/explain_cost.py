"""What an explanation costs beside a prediction of the same precision and view.

    python benchmarks/explain_cost.py [--size base] [--scheme SCHEME] [--frames 8] [--image-size 224] [--rounds 3]
    python benchmarks/explain_cost.py --memory [--size tiny] [--frames 96] ...

A model with random weights, all of whose steps count, sees one view of one clip in float32: by an engine, as `predict`
does, and by `explain` with rollout and with relevance, whole but for pictures and faithfulness. They take turns.
Printed: the median seconds of --rounds rounds, and their ratio to the prediction. With --memory each runs once, in a
process of its own; printed: the peak of its memory since everything was loaded, what a process takes that has run
nothing, and the ratio to the prediction of both the whole peak and what lies above that.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable

import torch

from timesformer.bench.timing import forget_peak, timed
from timesformer.config import Preprocessing, Sampling, TimeSformerSettings
from timesformer.device import peak_memory
from timesformer.engine.engine import load_engine
from timesformer.evaluation.scores import score_views
from timesformer.explain.explainer import Explainer
from timesformer.model.timesformer import TimeSformer
from timesformer.video.views import read_views
from timesformer.weights.classifier import Classifier

CPU, LOADED = torch.device("cpu"), "loaded"


def made(given: argparse.Namespace) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    torch.manual_seed(0)
    settings = TimeSformerSettings(
        size=given.size, scheme=given.scheme, num_frames=given.frames, image_size=given.image_size, num_classes=400
    )
    print(f"{settings}, {given.frames} x {given.image_size}, {torch.get_num_threads()} threads", flush=True)
    model = TimeSformer(settings).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("fc.weight"):  # at zero its step would not be computed
            torch.nn.init.trunc_normal_(parameter, std=0.02)
    preprocessing = Preprocessing(sampling=Sampling(method="segments"), test_crops=1)
    classifier = Classifier(model, preprocessing, tuple(map(str, range(400))))
    engine = load_engine(classifier, "eager", "fp32", device="cpu")
    explainer = Explainer(classifier, engine)
    side = given.image_size
    clip = torch.randint(0, 256, (3, given.frames, side, side), dtype=torch.uint8)
    return {
        "prediction": lambda: score_views(engine, read_views(clip, settings.clip_shape, preprocessing)),
        "rollout": lambda: explainer.explain(clip, method="rollout"),
        "relevance": lambda: explainer.explain(clip, method="relevance"),
    }


def seconds(runs: dict[str, Callable[[], object]], rounds: int) -> None:
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            one = timed(run, CPU)
            if number:  # the first round warms up
                taken[name].append(one)
    beside = statistics.median(taken["prediction"])
    for name, values in taken.items():
        middle = statistics.median(values)
        print(f"{name:12}{middle:8.2f} s{middle / beside:7.2f}")


def memory() -> None:
    """Each in a child of this process."""
    peaks: dict[str, int] = {}
    for name in (LOADED, "prediction", "rollout", "relevance"):
        words = [sys.executable, *sys.argv, "--only", name]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        *first, peak = done.stdout.splitlines()
        if not peaks:
            print(*first, sep="\n")
        peaks[name] = int(peak)
    loaded, beside = peaks[LOADED], peaks["prediction"]
    for name, peak in peaks.items():
        above = "" if name == LOADED else f"{peak / beside:7.2f}{(peak - loaded) / (beside - loaded):7.2f}"
        print(f"{name:12}{peak / 2**20:8.0f} MiB{above}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="base")
    parser.add_argument("--scheme", default="divided_space_time")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        runs = made(given)
        forget_peak(CPU)
        if given.only != LOADED:
            runs[given.only]()
        print(peak_memory(CPU))
    elif given.memory:
        memory()
    else:
        seconds(made(given), given.rounds)


if __name__ == "__main__":
    main()
