"""Are maps of real videos true to the model? Deletion and insertion, and maps of a network with shuffled weights.

    python benchmarks/explain_faithfulness.py WEIGHTS --data DATA [--split test] [--videos 100]
        [--methods rollout relevance occlusion] [--out FILE.json]

So many videos of a split, drawn with a fixed seed, are explained for their best class, in float32 on the CPU:

    deletion, insertion    areas of `timesformer explain`, mean of videos, beside those of a centre prior and at random
    gains                  the same less those at random of the same video (more is better), mean of videos
    shuffled               correlation of the map with that of the same network with each of its tensors shuffled, mean
                           of videos (Adebayo et al., "Sanity Checks for Saliency Maps", 2018)

Intervals are Student's, 95%, over videos.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from timesformer.data.manifest import read_manifest
from timesformer.evaluation.interval import mean_interval
from timesformer.explain.explainer import Explainer, Explanation, load_explainer
from timesformer.explain.faithfulness import faithfulness
from timesformer.weights.classifier import Classifier, load_model

CURVES, ORDERS = ("deletion", "insertion"), ("map", "centre", "random")


def shuffled(classifier: Classifier) -> Classifier:
    """The same numbers in every tensor, in another order."""
    model = copy.deepcopy(classifier.model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return replace(classifier, model=model, reread=None)


def correlation(one: Explanation, other: Explanation) -> float:
    """Over the pixels that the model gets to see: the others are zero in every map."""
    maps = [found.map_NHW[:, found.covered_HW].flatten() for found in (one, other)]
    return float(torch.corrcoef(torch.stack(maps))[0, 1])


def areas(explainer: Explainer, found: Explanation) -> dict[str, float]:
    """Of each curve the area of each order, and what those that are not random gain over one that is."""
    number = explainer.labels.index(found.label)
    row = faithfulness(explainer.engine, found.views.clips_VCTSS, found.cells_VURQ, number).as_dict()
    values = {f"{order}_{curve}": row[curve][order] for curve in CURVES for order in ORDERS}
    for curve in CURVES:
        values |= {f"{order}_{curve}_gain": row[curve][f"{order}_gain_over_random"] for order in ORDERS[:2]}
    return values


def means(rows: list[dict[str, float]]) -> dict[str, Any]:
    """The mean of every value, and its interval."""
    result: dict[str, Any] = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        result[name], result[f"{name}_interval"] = sum(values) / len(values), list(mean_interval(values))
    return result


def shown(found: dict[str, Any], name: str) -> str:
    """A value with its interval, where there is one."""
    if name not in found:
        return ""
    low, high = found[f"{name}_interval"]
    return f"{found[name]:.2f} ({low:.2f} to {high:.2f})"


def faithfulness_table(results: list[dict[str, Any]]) -> Table:
    """Areas and gains of each method, of the centre and at random."""
    names = [*CURVES, *(f"{curve}_gain" for curve in CURVES)]
    table = Table("method", *(name.replace("_", " ") for name in names), box=None, pad_edge=False)
    for found, order in (*((found, "map") for found in results), (results[0], "centre"), (results[0], "random")):
        method = found["method"] if order == "map" else order
        table.add_row(method, *(shown(found, f"{order}_{name}") for name in names))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--methods", nargs="+", default=["rollout", "relevance", "occlusion"])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    classifier = load_model(given.weights)
    real, other = load_explainer(classifier, "cpu"), load_explainer(shuffled(classifier), "cpu")
    manifest = read_manifest(given.data, given.split).with_labels(classifier.labels)
    videos = random.Random(0).sample(manifest.videos, min(given.videos, len(manifest.videos)))
    results: list[dict[str, Any]] = []
    for method in given.methods:
        rows, right = [], 0
        for video in track(videos, method, transient=True, console=Console(stderr=True)):
            found = real.explain(video.path, method=method)
            alike = correlation(found, other.explain(video.path, found.label, method=method))
            rows.append({"shuffled": alike, **areas(real, found)})
            right += real.labels.index(found.label) in video.labels
        results.append({"method": method, "videos": len(videos), "top1": right / len(videos), **means(rows)})
    console = Console(width=120)
    console.print(f"{len(videos)} videos, top-1 {results[0]['top1']:.3f}")
    console.print(faithfulness_table(results))
    for found in results:
        console.print(f"{found['method']}, shuffled weights: {shown(found, 'shuffled')}")
    if given.out is not None:
        given.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
