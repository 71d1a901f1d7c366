"""What the engine's part of a probe takes, against what its matrix products alone take in the same run.

    python benchmarks/probe_features.py DATA WEIGHTS [KEY=VALUE ...]

Runs `timesformer train --data DATA --recipe probe --init WEIGHTS`, whole, in a temporary folder. Every call of the
engine that computes features is timed, and after every fourth one its products alone, at the rates of that moment: so
both meet the same machine, with the processes that decode beside them. Printed: seconds of the engine and of its
products for all clips, their ratio, and what the whole command took.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from torch import Tensor

import timesformer
from timesformer.bench.limit import Limits
from timesformer.bench.products import inference_products
from timesformer.engine.engine import Engine
from timesformer.recipes import load_recipe
from timesformer.weights.initialise import initialise_classifier

EVERY = 4  # calls between two measurements of the products


def main() -> None:
    data, weights, *overrides = sys.argv[1:]
    recipe = load_recipe("probe", overrides)
    model = initialise_classifier(recipe.model, recipe.preprocessing, ("a", "b"), weights).classifier.model
    calls: list[tuple[int, float]] = []  # clips and seconds of each
    products: list[float] = []  # seconds a clip
    limits: dict[tuple[int, ...], Limits] = {}
    original = Engine.features

    def features(self: Engine, clips: Tensor, *given: Any, **named: Any) -> Tensor:
        begin = time.perf_counter()
        found = original(self, clips, *given, **named)
        calls.append((len(clips), time.perf_counter() - begin))
        if len(calls) % EVERY == 0:
            shape = tuple(clips.shape)
            if shape not in limits:
                limits[shape] = Limits(inference_products(model.settings, shape), self.precision, self.device)
            products.append(limits[shape].measure().seconds / len(clips))
        return found

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, patch.object(Engine, "features", features):
        timesformer.fit(recipe, data, Path(folder) / "run", init=weights, console=Console())
    whole = time.perf_counter() - begin
    clips = sum(count for count, _ in calls)
    engine, alone = sum(seconds for _, seconds in calls), clips * sum(products) / len(products)
    print(f"engine {engine:.1f} s for {clips} clips, its products alone {alone:.1f} s: {engine / alone:.2f} times")
    print(f"the whole command, with the measurements of the products: {whole:.1f} s")


if __name__ == "__main__":
    main()
