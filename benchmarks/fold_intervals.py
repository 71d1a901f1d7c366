"""How often the 95% interval of folds holds the score that it is of: ours and three others, on data without end.

    python benchmarks/fold_intervals.py [--repeats 400]

A linear classifier (ridge) is trained and tested in folds of a few simulated videos: two classes of Gaussians, and
groups, such as people, that shift the features of all of their videos, and those of each class. What is right is known
from 4,000 videos of 2,000 other people: the mean score of the very classifiers that were trained. Printed are, for each
setting, the fraction of repetitions in which the interval holds it, and the interval's mean width:

    ours        Student's t over the folds, no narrower than Wilson's interval of so many videos allows
    corrected   Student's t with a variance times 1/K + 1/(K-1) in place of 1/K (Nadeau and Bengio, 2003)
    bootstrap   of the groups, 2.5% to 97.5% of 500 draws
    wilson      of all videos, as if they were independent
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from timesformer.evaluation.interval import mean_interval, student, wilson_interval

Array = NDArray[Any]
RIDGE = 5.0


class Setting(NamedTuple):
    """groups of so many videos; features, four of which tell the classes apart by `effect`; how much groups differ."""

    groups: int
    videos: int
    features: int
    effect: float
    spread: float
    folds: int


SETTINGS = (
    Setting(20, 1, 10, 1.2, 0.0, 5),
    Setting(60, 1, 20, 0.5, 0.0, 5),
    Setting(20, 14, 20, 0.4, 0.3, 5),
    Setting(40, 7, 20, 0.4, 0.3, 5),
    Setting(40, 7, 20, 0.4, 0.8, 5),
    Setting(4, 20, 20, 0.4, 0.3, 4),
    Setting(10, 30, 20, 0.4, 0.3, 10),
)


def draw(random: np.random.Generator, setting: Setting, groups: int, videos: int) -> tuple[Array, Array, Array]:
    """Features, classes (-1 and 1) and groups of videos; of a group of one video its number decides the class."""
    group = np.repeat(np.arange(groups), videos)
    label = 2.0 * (np.arange(groups * videos) % 2) - 1
    centre = np.where(np.arange(setting.features) < 4, setting.effect, 0.0)
    shift, of_class = random.normal(0, setting.spread, (2, groups, setting.features))
    noise = random.normal(size=(groups * videos, setting.features))
    return noise + label[:, None] * (centre + of_class[group]) + shift[group], label, group


def right(training: tuple[Array, Array], tested: tuple[Array, Array]) -> Array:
    """Of each tested video, 1 where ridge regression on the training videos is right, else 0."""
    features, label = training
    mean = features.mean(0)
    centred = features - mean
    weights = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(centred.shape[1]), centred.T @ label)
    found: Array = ((tested[0] - mean) @ weights > 0) == (tested[1] > 0)
    scores: Array = found.astype(float)
    return scores


def repeat(setting: Setting, repeats: int) -> dict[str, tuple[float, float]]:
    """Of each interval, how often it holds what is right, and its mean width."""
    random = np.random.default_rng(0)
    others = draw(random, setting, 2000, 2)[:2]
    found: dict[str, list[tuple[bool, float]]] = {}
    for _ in range(repeats):
        features, label, group = draw(random, setting, setting.groups, setting.videos)
        fold = (random.permutation(setting.groups) % setting.folds)[group]
        score, scores, truths = np.zeros(len(label)), [], []
        for number in range(setting.folds):
            inside = fold == number
            training = features[~inside], label[~inside]
            score[inside] = right(training, (features[inside], label[inside]))
            scores.append(float(score[inside].mean()))
            truths.append(float(right(training, others).mean()))
        for name, (low, high) in intervals(setting, scores, score, group, random).items():
            holds = low - 1e-9 <= statistics.fmean(truths) <= high + 1e-9
            found.setdefault(name, []).append((holds, min(1.0, high) - max(0.0, low)))
    means = {name: np.mean(of, axis=0) for name, of in found.items()}
    return {name: (float(held), float(width)) for name, (held, width) in means.items()}


def intervals(
    setting: Setting, scores: list[float], score: Array, group: Array, random: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """By name."""
    mean, spread, folds = statistics.fmean(scores), statistics.stdev(scores), setting.folds
    half = student(folds - 1) * spread * math.sqrt(1 / folds + 1 / (folds - 1))
    of_group = np.array([score[group == number].mean() for number in range(setting.groups)])
    drawn = of_group[random.integers(0, setting.groups, (500, setting.groups))].mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "ours": mean_interval(scores, len(score)),
        "corrected": (mean - half, mean + half),
        "bootstrap": (float(low), float(high)),
        "wilson": wilson_interval(mean, len(score)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400)
    repeats = parser.parse_args().repeats
    for setting in SETTINGS:
        found = repeat(setting, repeats)
        shown = "  ".join(f"{name} {holds:.2f} ({width:.2f})" for name, (holds, width) in found.items())
        print(f"{setting.groups} groups of {setting.videos}, {setting.folds} folds: {shown}", flush=True)


if __name__ == "__main__":
    main()
