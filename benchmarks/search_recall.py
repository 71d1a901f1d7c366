"""How often a search finds the same action by another person: recall at 5 of features, against pixels and DINOv2.

    python benchmarks/search_recall.py DATA WEIGHTS [--by subject] [--split test] [--init DINOV2] [--top 5] [--videos N]
        [--out FOLDER]

Every video of the split is a query in turn; the videos of its own group (--by) do not answer. Recall is the fraction of
queries that have their own class among the first five; chance is that of an answer in random order. The interval is
over groups.

    pixels       8 frames spread over the video, 16 x 16 in grey; as they are, and without their mean over all videos
    DINOv2       --init, an image model: the mean of the class tokens of the 8 frames
    WEIGHTS      the pools cls and mean of the last block

FOLDER keeps the features, which are not computed again; they are float32. --videos: of N videos, every so many of them.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import timesformer
from timesformer.cli.progress import video_progress
from timesformer.evaluation.interval import grouped_interval
from timesformer.features.table import FeatureTable, Origin, Row, read_feature_table, write_table
from timesformer.inference.feature_job import FeatureJob
from timesformer.inference.listed import ListedVideos, list_data
from timesformer.inference.predictor import Predictor
from timesformer.recipes import load_recipe
from timesformer.video.source import open_video
from timesformer.weights.initialise import initialise_classifier

FRAMES, SIDE = 8, 16


def every(videos: ListedVideos, count: int | None) -> ListedVideos:
    """So many of the videos, evenly."""
    rows = range(0, len(videos.names), 1 if count is None else -(-len(videos.names) // count))
    names, sources, cells = ([part[row] for row in rows] for part in (videos.names, videos.sources, videos.cells))
    return ListedVideos(names, sources, videos.columns, cells)  # type: ignore[arg-type]


def write_pixels(videos: ListedVideos, file: Path) -> None:
    """Small grey frames, as they are."""
    rows: list[Row] = []
    for name, source, cells in zip(videos.names, videos.paths, videos.cells, strict=True):
        with open_video(source) as video:
            numbers = [round((at + 0.5) * video.num_frames / FRAMES - 0.5) for at in range(FRAMES)]
            frames_CTHW = video.read(numbers, SIDE).float()
        pixels = torch.nn.functional.interpolate(frames_CTHW.mean(0)[:, None], (SIDE, SIDE), mode="area")
        rows.append({"id": name, "video": name, **cells, "vector": (pixels.flatten() / 255).numpy()})
    write_table(rows, Origin("pixels", -1, "pixels", (FRAMES * SIDE**2,), "float32", "-", "-"), videos.columns, file)


def features_of(videos: ListedVideos, predictor: Predictor, pool: str, file: Path) -> FeatureTable:
    """Those in the file, or computed now."""
    job = FeatureJob(videos, file, pool=pool, dtype="float32", resume=True)
    with video_progress() as show:
        for _ in job.run(predictor, on_progress=show):
            pass
    return read_feature_table(file)


def image_features(init: str, labels: Sequence[str]) -> Predictor:
    """An image model on each of 8 frames."""
    changes = [
        "model.scheme=space_only",
        "model.position=space",
        f"model.num_frames={FRAMES}",
        "model.pooling=class_token",
    ]
    recipe = load_recipe("probe", changes)
    made = initialise_classifier(recipe.model, recipe.preprocessing, tuple(labels), init)
    return timesformer.load(made.classifier)


def report(name: str, table: FeatureTable, vectors_ND: Tensor, by: str, top: int) -> None:
    """Print the recall of a kind of vectors."""
    labels, groups = table.column("label"), table.column(by)
    units_ND = torch.nn.functional.normalize(vectors_ND.float(), dim=1)
    cosine_NN = units_ND @ units_ND.T
    group_N = torch.tensor([sorted(set(groups)).index(group) for group in groups])
    label_N = torch.tensor([sorted(set(labels)).index(label) for label in labels])
    cosine_NN[group_N[:, None] == group_N[None]] = -torch.inf
    found_NJ = label_N[cosine_NN.topk(top, 1).indices] == label_N[:, None]
    recall_N, first_N = found_NJ.any(1), found_NJ[:, 0]
    interval = grouped_interval(recall_N, groups)
    print(
        f"{name:28} recall@{top} {recall_N.float().mean():.3f} (95% interval {interval.low:.3f} to "
        f"{interval.high:.3f}), first {first_N.float().mean():.3f}",
        flush=True,
    )


def chance(table: FeatureTable, by: str, top: int) -> float:
    """Recall of answers in random order."""
    labels, groups = table.column("label"), table.column(by)
    of_both, of_group, of_label = Counter(zip(labels, groups, strict=True)), Counter(groups), Counter(labels)
    found = []
    for label, group in zip(labels, groups, strict=True):
        others, right = len(labels) - of_group[group], of_label[label] - of_both[label, group]
        found.append(1 - math.comb(others - right, top) / math.comb(others, top))
    return float(np.mean(found))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("weights")
    parser.add_argument("--by", default="subject")
    parser.add_argument("--split", default="test")
    parser.add_argument("--init", help="an image model")
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--videos", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/search_recall"))
    given = parser.parse_args()
    listed = list_data(given.data, given.split)
    videos = every(listed, given.videos)
    given.out.mkdir(parents=True, exist_ok=True)
    pixels = given.out / "pixels.parquet"
    write_pixels(videos, pixels)
    table = read_feature_table(pixels)
    groups = len(set(table.column(given.by)))
    print(
        f"{given.data}, {given.split}: {len(table)} videos, {len(set(table.column('label')))} classes, {groups} groups"
    )
    print(f"{'chance':28} recall@{given.top} {chance(table, given.by, given.top):.3f}")
    report("pixels", table, table.vectors_ND, given.by, given.top)
    report("pixels without their mean", table, table.vectors_ND - table.vectors_ND.mean(0), given.by, given.top)
    if given.init:
        labels = sorted(set(table.column("label")))
        found = features_of(videos, image_features(given.init, labels), "cls", given.out / "image.parquet")
        report("image model, mean of frames", found, found.vectors_ND, given.by, given.top)
    predictor = timesformer.load(given.weights)
    for pool in ("cls", "mean") if getattr(predictor.settings, "class_token", False) else ("mean",):
        found = features_of(videos, predictor, pool, given.out / f"{pool}.parquet")
        report(f"{given.weights[-20:]}, {pool}", found, found.vectors_ND, given.by, given.top)


if __name__ == "__main__":
    main()
