"""What an explanation costs beside a prediction of the same precision and view.

    python benchmarks/explain_cost.py [--size base] [--scheme SCHEME] [--frames 8] [--image-size 224] [--rounds 3]

A model with random weights, all of whose steps count, sees one view of one clip in float32: by an engine, as `predict`
does, and by `explain` with rollout and with relevance, whole but for pictures and faithfulness. They take turns.
Printed: the median seconds of --rounds rounds, and their ratio to the prediction.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch

from timesformer.bench.timing import timed
from timesformer.config import Preprocessing, Sampling, TimeSformerSettings
from timesformer.engine.engine import load_engine
from timesformer.evaluation.scores import score_views
from timesformer.explain.explainer import Explainer
from timesformer.model.timesformer import TimeSformer
from timesformer.video.views import read_views
from timesformer.weights.classifier import Classifier

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="base")
    parser.add_argument("--scheme", default="divided_space_time")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.manual_seed(0)
    settings = TimeSformerSettings(
        size=given.size, scheme=given.scheme, num_frames=given.frames, image_size=given.image_size, num_classes=400
    )
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
    runs: dict[str, Callable[[], object]] = {
        "prediction": lambda: score_views(engine, read_views(clip, settings.clip_shape, preprocessing)),
        "rollout": lambda: explainer.explain(clip, method="rollout"),
        "relevance": lambda: explainer.explain(clip, method="relevance"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(given.rounds + 1):
        for name, run in runs.items():
            taken = timed(run, CPU)
            if number:  # the first round warms up
                seconds[name].append(taken)
    beside = statistics.median(seconds["prediction"])
    print(f"{settings}, {given.frames} x {side}, {torch.get_num_threads()} threads, {given.rounds} rounds")
    for name, values in seconds.items():
        middle = statistics.median(values)
        print(f"{name:12}{middle:8.2f} s{middle / beside:7.2f}")


if __name__ == "__main__":
    main()
