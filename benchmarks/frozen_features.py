"""Frozen features against those of the model in plain float32.

    python benchmarks/frozen_features.py DATA WEIGHTS [VIDEOS] [KEY=VALUE ...]

Up to VIDEOS (32 if not given) videos, spread over DATA's training split, as the recipe `probe` sees them. For each
precision that this machine has: the root mean square of a dimension's difference over that dimension's
standard deviation across the videos, and videos a second, decoding included.
"""

from __future__ import annotations

import sys
import time

import torch
from torch import Tensor

from timesformer.config import Data
from timesformer.data.dataset import TestingViews
from timesformer.data.manifest import read_manifest
from timesformer.engine.engine import Precision, load_engine
from timesformer.errors import SettingError
from timesformer.evaluation.calibration import calibration_clips
from timesformer.features.extract import extract
from timesformer.recipes import load_recipe
from timesformer.video.transforms import normalise
from timesformer.video.views import read_views
from timesformer.weights.initialise import initialise_classifier

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8")


def relative(found_ND: Tensor, expected_ND: Tensor) -> float:
    """Root mean square of differences, each over the deviation of its dimension across videos."""
    return float(((found_ND - expected_ND) / expected_ND.std(0)).square().mean().sqrt())


def main() -> None:
    data, weights, *rest = sys.argv[1:]
    count = int(rest.pop(0)) if rest and rest[0].isdecimal() else 32
    recipe = load_recipe("probe", rest)
    manifest = read_manifest(data, "train")
    manifest = manifest.part(range(0, len(manifest.videos), -(-len(manifest.videos) // count)))
    classifier = initialise_classifier(recipe.model, recipe.preprocessing, manifest.labels, weights).classifier
    model = classifier.model.eval()
    views = TestingViews(manifest, classifier.model.clip_shape, classifier.preprocessing)
    expected = []
    for video in manifest.videos:
        clips = read_views(video.path, model.clip_shape, classifier.preprocessing)
        with torch.inference_mode():
            expected.append(model.forward_features(normalise(clips, classifier.preprocessing)))
    for precision in PRECISIONS:
        clips = calibration_clips([video.path for video in manifest.videos], classifier)
        try:
            engine = load_engine(classifier, precision=precision, clips=clips if precision == "int8" else None)
        except SettingError as error:
            print(f"{precision}: {error}")
            continue
        begin = time.perf_counter()
        found = extract(views, engine, Data())
        seconds = time.perf_counter() - begin
        print(
            f"{precision}: {relative(found.features, torch.cat(expected)):.1e} of a dimension's deviation across "
            f"{len(manifest.videos)} videos, {len(manifest.videos) / seconds:.2f} videos/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
