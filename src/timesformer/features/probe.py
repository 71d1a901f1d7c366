"""A probe of a table: what heads tell from the frozen features of a file."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch

from timesformer.config.probe import Probe
from timesformer.errors import DataError, SettingError
from timesformer.features.choice import Estimate, choose_in_folds
from timesformer.features.cross_validation import Candidate, OnFit, ignore
from timesformer.features.extract import Features
from timesformer.features.head import Head
from timesformer.features.linear import LinearHead
from timesformer.features.neighbours import NearestNeighbours
from timesformer.features.table import FeatureTable

STRENGTHS, NEIGHBOURS, FOLDS = Probe().l2, Probe().neighbours, Probe().folds


@dataclass(frozen=True)
class ProbeReport:
    """What heads tell from the features of a file.

    Attributes: `videos`, `classes`, `by`, the column of the groups, `groups` and `folds`; `most_frequent`: the class
    that most videos have, and `floor`: the top-1 of that answer for all; `heads`: the best value of each head, and its
    top-1 in nested cross-validation, with a 95% interval over groups.
    """

    videos: int
    classes: int
    by: str
    groups: int
    folds: int
    most_frequent: str
    floor: float
    heads: tuple[tuple[Candidate, Estimate], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        heads = [
            {
                "head": candidate.head.name,
                candidate.head.setting: candidate.value,
                "top1": estimate.top1,
                "interval": list(estimate.interval),
            }
            for candidate, estimate in self.heads
        ]
        facts = {name: getattr(self, name) for name in ("videos", "classes", "by", "groups", "folds")}
        return {**facts, "most_frequent": self.most_frequent, "floor": self.floor, "heads": heads}


def probe_features(
    table: FeatureTable, *, by: str = "video", folds: int | None = None, seed: int = 0, on_fit: OnFit = ignore
) -> ProbeReport:
    """How well nearest neighbours and a linear layer tell the classes of a table apart: the recipe `probe` on a file.

    Values of both are tried, those that the recipe tries by default; nested cross-validation over all videos, whatever
    their split, estimates the best. Windows of a video count as its clips.

    by: the column whose groups are whole in every fold. folds: 5, or as many as there are groups, if not given. on_fit:
    called with each head before it is fitted. Raises DataError for a table without classes, of a single class, or with
    several a video, and for fewer groups than folds; SettingError for fewer than 3 folds.
    """
    features, names = features_of(table)
    by_video = features.of_videos(torch.arange(len(features))).tolist()
    cells = table.column(by)
    groups = [cells[row] for row in by_video]
    if None in groups:
        raise DataError(
            f"{table.file}: {table.row(by_video[groups.index(None)])['id']} has no {by}; each video needs one"
        )
    count = len(set(groups))
    if folds is None:
        folds = min(FOLDS, count)
    elif folds < 3:
        raise SettingError(f"folds is {folds}; expected at least 3")
    if count < max(folds, 3):
        raise DataError(
            f"{table.file}: has videos of {count} groups ({by}); expected at least {max(folds, 3)}, one a fold"
        )
    classes = len(names)
    heads: list[Head] = [NearestNeighbours(classes, tuple(map(float, NEIGHBOURS))), LinearHead(classes, STRENGTHS)]
    choice = choose_in_folds(features, heads, groups, folds, seed, on_fit)
    label, most = Counter(choice.labels_B.tolist()).most_common(1)[0]
    videos = len(choice.labels_B)
    return ProbeReport(videos, classes, by, count, folds, names[label], most / videos, choice.of_heads)


def features_of(table: FeatureTable) -> tuple[Features, list[str]]:
    """A table as features, with the names of its classes. Rows of one video, which come one after the other, are its
    clips. Raises DataError as `probe_features`."""
    if "labels" in table.rows.column_names:
        raise DataError(f"{table.file}: has several classes a video (a column labels); a probe needs one")
    if "label" not in table.rows.column_names:
        raise DataError(f"{table.file}: has no labels; a probe needs features of a data set")
    labels = table.column("label")
    names = sorted(set(labels))
    if len(names) == 1:
        raise DataError(f"{table.file}: all videos are of the class {names[0]}; a probe needs at least 2")
    splits = table.column("split") if "split" in table.rows.column_names else [None] * len(table)
    videos = list(zip(splits, table.column("video"), strict=True))
    first_N = torch.tensor([number == 0 or videos[number - 1] != one for number, one in enumerate(videos)])
    numbers = {name: number for number, name in enumerate(names)}
    labels_N = torch.tensor([numbers[label] for label in labels])
    return Features(table.vectors_ND.float(), labels_N, first_N.cumsum(0) - 1), names
