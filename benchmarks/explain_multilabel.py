"""Does the map of a class point at what is of that class, and at when it happens?

    python benchmarks/explain_multilabel.py write DATA [--clips 1600]
    timesformer train --data DATA --recipe benchmarks/explain_multilabel.yaml --init runs/demo/run --out RUN
    python benchmarks/explain_multilabel.py measure RUN [--clips 100] [--methods rollout relevance occlusion] [--seed 0]
        [--layer -1] [--out FILE.json]

`write` draws a multi-label set from the shapes of the motion data: clips of 64 x 64 pixels, as many of each kind:

    pair    two shapes that never touch, of two classes
    span    one shape that rests where all classes agree, but for 6 of 21 frames in which it goes its way: so no other
            frame says which class it is. The network sees three of these six, of eight in all

`measure` explains so many new clips of each kind for every class that is in them, found by the network or not:

    maximum    pair: the map's maximum, over all frames, is nearer to the shape of the class than to the other one, each
               wherever it is in any frame that is looked at
    mass       pair: the map has more on the pixels of the shape of the class, in each frame, than on those of the other
               one, for their area
    frame      span: the frame with the most weight is one of those six

A map that is the same for all classes has 0.5 of the first two; of the last an even one has what is printed as chance.
Intervals are Wilson's, 95%, over clips, not over the two classes of one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from explain_faithfulness import shown  # beside this file
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from timesformer.data.motion import CLASSES, FPS, FRAMES, bright_colour, moving_shape, texture
from timesformer.evaluation.interval import wilson_interval
from timesformer.explain.explainer import Explainer, Explanation, load_explainer
from timesformer.video.encode import write_video

SIDE, SCALE = 64, 0.75  # pixels; size and speed of shapes, beside those of the motion data
CORNERS = ((0.28, 0.28), (0.28, 0.72), (0.72, 0.28), (0.72, 0.72))  # what shapes of a pair move around
GAP = 2  # pixels between two shapes, at least
SPAN, REACH = 6, 6.0  # frames of a short motion, and how far it goes to either side, in frames of the motion data
EARLIEST, LATEST = 3, 11  # its first frame
SEEDS = {"train": 4 * 10**12, "test": 5 * 10**12, "measure": 6 * 10**12}


class Drawn(NamedTuple):
    """clip_CTHW: uint8. shapes: which pixels are of the shape of each class, (T, H, W). span: frames first <= n < stop
    in which it moves."""

    clip_CTHW: Tensor
    shapes: dict[str, Tensor]
    span: tuple[int, int]


def draw_pair(labels: tuple[str, str], seed: int) -> Drawn:
    generator = torch.Generator().manual_seed(seed)
    steps_T = torch.arange(FRAMES) - (FRAMES - 1) / 2
    while True:
        places = torch.randperm(len(CORNERS), generator=generator)[:2].tolist()
        one, other = (
            moving_shape(label, steps_T, generator, SIDE, SIDE, SCALE, CORNERS[place])
            for label, place in zip(labels, places, strict=True)
        )
        near = torch.nn.functional.max_pool2d(one[0], 2 * GAP + 1, 1, GAP)
        if not (near * other[0]).any():
            break
    clip = paint((one, other), generator)
    return Drawn(clip, {label: mask[0] > 0.5 for label, mask in zip(labels, (one, other), strict=True)}, (0, FRAMES))


def draw_span(label: str, seed: int) -> Drawn:
    generator = torch.Generator().manual_seed(seed)
    first = int(torch.randint(EARLIEST, LATEST + 1, (), generator=generator))
    steps_T = torch.zeros(FRAMES)
    steps_T[first : first + SPAN] = torch.linspace(-REACH, REACH, SPAN)
    mask = moving_shape(label, steps_T, generator, SIDE, SIDE, SCALE)
    return Drawn(paint((mask,), generator), {label: mask[0] > 0.5}, (first, first + SPAN))


def paint(masks: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    clip = texture(SIDE, SIDE, generator)[:, None].expand(-1, FRAMES, -1, -1)
    for mask in masks:
        clip = clip * (1 - mask) + bright_colour(generator)[:, None, None, None] * mask
    return (clip * 255).round().to(torch.uint8)


def draw(number: int, split: str, seed: int = 0) -> Drawn:
    """Clip `number` of a split: pairs and spans in turn, all classes and pairs of classes alike."""
    pairs = [(one, other) for one in CLASSES for other in CLASSES if one != other]
    at, kind = divmod(number, 2)
    drawn_by = SEEDS[split] + seed * 10**9 + number
    return draw_span(CLASSES[at % len(CLASSES)], drawn_by) if kind else draw_pair(pairs[at % len(pairs)], drawn_by)


def write(data: Path, clips: int) -> None:
    for split, count in (("train", clips), ("test", 320)):
        rows = ["path,labels"]
        (data / split).mkdir(parents=True)
        for number in track(range(count), split, transient=True, console=Console(stderr=True)):
            drawn = draw(number, split)
            write_video(data / split / f"{number:05d}.mp4", drawn.clip_CTHW, FPS)
            rows.append(f"{split}/{number:05d}.mp4,{';'.join(drawn.shapes)}")
        (data / f"{split}.csv").write_text("\n".join(rows) + "\n", "utf-8")


def points_at(found: Explanation, drawn: Drawn) -> dict[str, bool]:
    """Whether a map of a pair is about the shape of its class rather than the other one's."""
    own, other = (
        next(mask[found.frames] for label, mask in drawn.shapes.items() if (label == found.label) == wanted)
        for wanted in (True, False)
    )
    top = torch.unravel_index(found.map_NHW.argmax(), found.map_NHW.shape)
    at = torch.stack(top[1:]).float()

    def distance(shape_NHW: Tensor) -> float:
        return float((shape_NHW.any(0).nonzero() - at).norm(dim=1).min())

    map_NHW = found.map_NHW.clamp(min=0)
    density = [float((map_NHW * shape).sum() / shape.sum()) for shape in (own, other)]
    return {"maximum": distance(own) < distance(other), "mass": density[0] > density[1]}


def measure(explainer: Explainer, method: Any, clips: int, seed: int, layer: int | None = None) -> dict[str, Any]:
    rows: dict[str, list[float]] = {"maximum": [], "mass": [], "frame": [], "chance": [], "known": []}
    for number in track(range(2 * clips), method, transient=True, console=Console(stderr=True)):
        drawn = draw(number, "measure", seed)
        for label in drawn.shapes:
            found = explainer.explain(drawn.clip_CTHW, label, fps=FPS, method=method, layer=layer)
            rows["known"].append(found.score > 0.5)
            if len(drawn.shapes) == 2:
                for name, right in points_at(found, drawn).items():
                    rows[name].append(right)
            else:
                first, stop = drawn.span
                inside = [first <= frame < stop for frame in found.frames]
                weights = found.frame_weights
                rows["frame"].append(inside[max(range(len(weights)), key=weights.__getitem__)])
                rows["chance"].append(sum(inside) / len(inside))
    result: dict[str, Any] = {"method": method, "layer": layer, "clips": clips, "seed": seed}
    for name, values in rows.items():
        result[name] = sum(values) / len(values)
        result[f"{name}_interval"] = list(wilson_interval(result[name], clips))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    writing = verbs.add_parser("write")
    writing.add_argument("data", type=Path)
    writing.add_argument("--clips", type=int, default=1600, help="training clips of both kinds together")
    measuring = verbs.add_parser("measure")
    measuring.add_argument("run")
    measuring.add_argument("--clips", type=int, default=100, help="of each kind")
    measuring.add_argument("--methods", nargs="+", default=["rollout", "relevance", "occlusion"])
    measuring.add_argument("--seed", type=int, default=0)
    measuring.add_argument("--layer", type=int, help="that of `timesformer explain`, of rollout and relevance")
    measuring.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.verb == "write":
        write(given.data, given.clips)
        return
    explainer = load_explainer(given.run, "cpu")
    results = [measure(explainer, method, given.clips, given.seed, given.layer) for method in given.methods]
    names = ("maximum", "mass", "frame")
    table = Table("method", *names, box=None, pad_edge=False)
    for found in results:
        table.add_row(found["method"], *(shown(found, name) for name in names))
    print(f"{given.clips} clips of each kind; classes with a score over 0.5: {results[0]['known']:.3f}")
    print(f"frame, by chance: {results[0]['chance']:.2f}")
    Console(width=100).print(table)
    if given.out is not None:
        given.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
