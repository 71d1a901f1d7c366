"""Test a trained classifier in every precision of an engine: its scores, and how often the best class is float32's.

    python benchmarks/agreement.py RUN DATA [ENGINE]

RUN: weights, or the folder of a run; DATA: the data set it was trained on, whose test split is scored as `timesformer
test` does. int8 is calibrated on 16 videos of the training split.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from timesformer.config import Data
from timesformer.data.manifest import read_manifest
from timesformer.evaluation.test import TestResult, test
from timesformer.inference.engine import SUPPORTED, load_engine
from timesformer.inference.predictor import some_views
from timesformer.weights import open_weights


def main() -> None:
    run, data = sys.argv[1:3]
    engine: Any = sys.argv[3] if len(sys.argv) > 3 else "eager"
    classifier = open_weights(run)
    clips = some_views([video.path for video in read_manifest(data, "train").videos], classifier)
    found: dict[str, TestResult] = {}
    for name in SUPPORTED[engine]:
        precision: Any = name
        network = load_engine(classifier, engine, precision, device="cpu", clips=clips)
        began = time.perf_counter()
        found[name] = test(classifier, read_manifest(data, "test"), Data(), network=network, views=network.views)
        seconds = time.perf_counter() - began
        same = found[name].scores_BK.argmax(1) == found["fp32"].scores_BK.argmax(1)
        print(
            f"{name}: {found[name].summary()}, {seconds:.1f} s; the best class of fp32 in {same.float().mean():.1%}; "
            f"{network}",
            flush=True,
        )


if __name__ == "__main__":
    main()
