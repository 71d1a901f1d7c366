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
from timesformer.engine.choose import SUPPORTED
from timesformer.engine.engine import load_engine
from timesformer.evaluation.calibration import calibration_clips
from timesformer.evaluation.evaluate import EvaluationResult, evaluate_manifest
from timesformer.weights.classifier import load_model


def main() -> None:
    run, data = sys.argv[1:3]
    engine: Any = sys.argv[3] if len(sys.argv) > 3 else "eager"
    classifier = load_model(run)
    clips = calibration_clips([video.path for video in read_manifest(data, "train").videos], classifier)
    found: dict[str, EvaluationResult] = {}
    for name in SUPPORTED[engine]:
        precision: Any = name
        network = load_engine(classifier, engine, precision, device="cpu", clips=clips)
        began = time.perf_counter()
        found[name] = evaluate_manifest(classifier, read_manifest(data, "test"), network, Data())
        seconds = time.perf_counter() - began
        same = found[name].scores_BK.argmax(1) == found["fp32"].scores_BK.argmax(1)
        print(
            f"{name}: {found[name].summary()}, {seconds:.1f} s; the best class of fp32 in {same.float().mean():.1%}; "
            f"{network}",
            flush=True,
        )


if __name__ == "__main__":
    main()
