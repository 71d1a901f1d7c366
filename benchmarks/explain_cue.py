"""Does a map point at what decides? The demo's clips, where a shape moves and nothing else says a class.

    python benchmarks/explain_cue.py RUN [--clips 20] [--methods rollout relevance occlusion] [--first 0] [--grids 1]
        [--out FILE.json]

RUN: the demo's run (`timesformer demo`), or any classifier of the motion data. So many new clips of each class are
explained for their best class. A clip's shape is known to the pixel, since the clip is drawn, not read:

    maximum     clips whose map is largest, over all frames, on the shape of that very frame
    near        the same, or within half a patch of it
    place       clips whose map is largest where the shape is in any frame that the model looks at
    mass        the map's part on the shape over the shape's part of the area, mean of clips that do not grow or shrink
    shuffled    correlation of the map with that of the same network with each of its tensors shuffled, mean of clips
                (Adebayo et al., "Sanity Checks for Saliency Maps", 2018)

    deletion, insertion    areas of `timesformer explain`, mean of clips, beside those of a centre prior and at random

The row `shape` is a map that cannot be truer: of each patch of each view the part that the shape covers. What it
misses, no map of such patches can be held to. Intervals are of 95%: of fractions Wilson's, of means Student's.
--grids: that of `timesformer explain`. --first: the first clip of each class, for clips of which nothing was chosen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from explain_faithfulness import areas, correlation, faithfulness_table, means, shown, shuffled  # beside this file
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from timesformer.config import ClipShape, Preprocessing, Sampling
from timesformer.data.motion import CLASSES, FPS, motion_clip
from timesformer.evaluation.interval import mean_interval, wilson_interval
from timesformer.explain.explainer import Explainer, Explanation, load_explainer
from timesformer.explain.placement import moved_views, place_views, video_map, view_cells
from timesformer.video.source import open_video
from timesformer.weights.classifier import load_model

SEED = 3 * 10**12  # of no clip of the demo
SHAPE = "shape"
BRIGHT = 190  # of 255: a colour of every shape is brighter, none of a background is


def shape_in(clip_CTHW: Tensor) -> Tensor:
    """Which pixels of a clip as it was drawn are of its shape: (T, H, W)."""
    return clip_CTHW.amax(0) > BRIGHT


def judge(found: Explanation, shape_THW: Tensor) -> dict[str, float]:
    """What a map says of the shape."""
    shape_NHW = shape_THW[found.frames]
    map_NHW = found.map_NHW.clamp(min=0)
    top = torch.unravel_index(found.map_NHW.argmax(), found.map_NHW.shape)
    mass = float((map_NHW * shape_NHW).sum() / map_NHW.sum())
    scale = found.views.size[0] / found.views.scaled[0]
    half = round(found.views.side / found.cells_VURQ.shape[-1] * scale / 2)  # of a cell, in pixels of the video
    near_NHW = F.max_pool2d(shape_NHW.float()[:, None], 2 * half + 1, 1, half)[:, 0]
    return {
        "maximum": float(shape_NHW[top]),
        "near": float(near_NHW[top]),
        "place": float(shape_NHW.any(0)[top[1:]]),
        "mass": mass / float(shape_NHW.float().mean()),
    }


def truest(found: Explanation, shape_THW: Tensor, grids: int) -> Explanation:
    """The same with a map of what part of each cell of each view the shape covers."""
    white_CTHW = (shape_THW.to(torch.uint8) * 255).expand(3, -1, -1, -1)
    shape = ClipShape(len(found.views.places[0].numbers), found.views.side)
    crops = len({(place.top, place.left) for place in found.views.places})
    clips_CNHW = white_CTHW[:, found.frames]
    with open_video(clips_CNHW) as video:
        preprocessing = Preprocessing(
            short_side=min(found.views.scaled),
            sampling=Sampling(method="span", rate=1),
            test_crops=3 if crops > 1 else 1,
        )
        views = place_views(video, shape, preprocessing)
    grid = found.cells_VURQ.shape[1:]
    seen = moved_views(views, grids, views.side // grid[1])
    map_NHW, _ = video_map(seen, F.adaptive_avg_pool2d(seen.clips_VCTSS.float().mean(1), grid[1:]))
    return found._replace(map_NHW=map_NHW, cells_VURQ=view_cells(views, map_NHW, (grid[0], grid[1], grid[2])))


def measure(
    real: Explainer, random: Explainer, method: Any, clips: int, first: int = 0, grids: int = 1
) -> dict[str, Any]:
    """All values of a method, or of `shape`."""
    rows, right, alike = [], 0, []
    curves: list[dict[str, float]] = []
    numbers = range(first, first + clips)
    work = [(label, SEED + 1000 * number + kind) for kind, label in enumerate(CLASSES) for number in numbers]
    how: dict[str, Any] = {"fps": FPS, "method": "rollout" if method == SHAPE else method, "grids": grids}
    for label, seed in track(work, method, transient=True, console=Console(stderr=True)):
        clip_CTHW = motion_clip(label, seed)
        shape_THW = shape_in(clip_CTHW)
        found = real.explain(clip_CTHW, **how)
        right += found.label == label
        if method == SHAPE:
            found = truest(found, shape_THW, grids)
        else:
            alike.append(correlation(found, random.explain(clip_CTHW, found.label, **how)))
        rows.append({"label": label, **judge(found, shape_THW)})
        curves.append(areas(real, found))
    steady = [row["mass"] for row in rows if row["label"] not in ("growing", "shrinking")]
    result: dict[str, Any] = {"method": method, "clips": len(rows), "top1": right / len(rows), **means(curves)}
    for name in ("maximum", "near", "place"):
        result[name] = sum(row[name] for row in rows) / len(rows)
        result[f"{name}_interval"] = list(wilson_interval(result[name], len(rows)))
    for name, values in (("mass", steady), ("shuffled", alike)):
        if values:
            result[name] = sum(values) / len(values)
            result[f"{name}_interval"] = list(mean_interval(values))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--clips", type=int, default=20, help="of each class")
    parser.add_argument("--methods", nargs="+", default=["rollout", "relevance", "occlusion"])
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--grids", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    classifier = load_model(arguments.run)
    real, random = load_explainer(classifier, "cpu"), load_explainer(shuffled(classifier), "cpu")
    results = [
        measure(real, random, method, arguments.clips, arguments.first, arguments.grids if method != "occlusion" else 1)
        for method in [*arguments.methods, SHAPE]
    ]
    print(f"{results[0]['clips']} clips, top-1 {results[0]['top1']:.3f}")
    table = Table("method", "maximum", "near", "place", "mass", "shuffled", box=None, pad_edge=False)
    for found in results:
        table.add_row(
            found["method"], *(shown(found, name) for name in ("maximum", "near", "place", "mass", "shuffled"))
        )
    console = Console(width=120)
    console.print(table)
    console.print()
    console.print(faithfulness_table(results))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
