"""`probe_features` is the recipe `probe` on a file: its heads, its folds, its estimate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from feature_tables import some_rows, write
from timesformer.config.probe import Probe
from timesformer.errors import DataError, SettingError
from timesformer.evaluation.interval import grouped_interval
from timesformer.features.choice import choose_in_folds
from timesformer.features.extract import Features
from timesformer.features.linear import LinearHead
from timesformer.features.neighbours import NearestNeighbours
from timesformer.features.probe import features_of, probe_features
from timesformer.features.table import FeatureTable, Row, read_feature_table


def labelled(count: int, told_apart: float = 3.0) -> list[Row]:
    """Rows of two classes, a of two thirds; persons of four rows each."""
    labels = ["a" if number % 3 else "b" for number in range(count)]
    rows = some_rows(count, dtype="float32", label=labels, person=[f"p{number // 4}" for number in range(count)])
    for row in rows:
        row["vector"][2] += told_apart * (row["label"] == "b")
    return rows


def table_of(tmp_path: Path, rows: list[Row]) -> FeatureTable:
    return read_feature_table(write(tmp_path / "f.parquet", rows, dtype="float32"))


def test_it_is_what_the_recipe_does(tmp_path: Path) -> None:
    rows = labelled(48)
    report = probe_features(table_of(tmp_path, rows), by="person", folds=4)
    assert (report.videos, report.classes, report.by, report.groups, report.folds) == (48, 2, "person", 12, 4)
    assert (report.most_frequent, report.floor) == ("a", pytest.approx(2 / 3))
    labels = torch.tensor([row["label"] == "b" for row in rows]).long()
    features = Features(torch.from_numpy(np.stack([row["vector"] for row in rows])), labels, torch.arange(48))
    heads = [NearestNeighbours(2, (1.0, 5.0, 20.0)), LinearHead(2, Probe().l2)]
    groups = [row["person"] for row in rows]
    choice = choose_in_folds(features, heads, groups, 4, 0, lambda head: None)
    assert [(str(one), estimate) for one, estimate in report.heads] == [
        (str(one), estimate) for one, estimate in choice.of_heads
    ]
    linear = report.heads[1][1]
    assert linear.top1 > 0.85
    assert linear.interval.width > grouped_interval(torch.arange(48) < 48 * linear.top1, range(48)).width * 0.5
    said = report.as_dict()
    assert [head["head"] for head in said["heads"]] == ["knn", "linear"]
    assert said["heads"][1]["top1"] == linear.top1
    assert set(said["heads"][0]) == {"head", "neighbours", "top1", "interval"}


def test_windows_are_the_clips_of_a_video(tmp_path: Path) -> None:
    """One video of each split may have the same name; a row of a video that cannot be read on is none."""
    rows = labelled(12)
    for number, row in enumerate(rows):
        row |= {
            "video": f"{number // 3 % 2}.mp4",
            "split": "train" if number < 6 else "test",
            "label": "ab"[number // 6],
        }
    rows.insert(2, {"id": "0.mp4", "video": "0.mp4", "split": "train", "label": "a", "problem": "truncated"})
    features, names = features_of(table_of(tmp_path, rows))
    assert features.videos_N.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert (names, features.labels_N.tolist()) == (["a", "b"], [0] * 6 + [1] * 6)


def test_folds(tmp_path: Path) -> None:
    """Five, or as many as there are groups; never fewer than were asked for."""
    table = table_of(tmp_path, labelled(16))
    assert probe_features(table).folds == 5
    assert probe_features(table, by="person").folds == 4
    for folds, message in (
        (5, r"has videos of 4 groups \(person\); expected at least 5, one a fold"),
        (2, "folds is 2"),
    ):
        with pytest.raises((DataError, SettingError), match=message):
            probe_features(table, by="person", folds=folds)
    with pytest.raises(DataError, match=r"has videos of 2 groups \(label\); expected at least 3"):
        probe_features(table, by="label")


def test_what_is_refused(tmp_path: Path) -> None:
    rows = labelled(16)
    with pytest.raises(DataError, match=r"has no column subject; it has id, video, label, person"):
        probe_features(table_of(tmp_path, rows), by="subject")
    del rows[3]["person"]
    with pytest.raises(DataError, match=r"3\.mp4 has no person; each video needs one"):
        probe_features(table_of(tmp_path, rows), by="person")
    with pytest.raises(DataError, match="has no labels; a probe needs features of a data set"):
        probe_features(table_of(tmp_path, some_rows(6, dtype="float32")))
    with pytest.raises(DataError, match="has several classes a video"):
        probe_features(table_of(tmp_path, some_rows(2, dtype="float32", labels=["a;b", "a"])))
    with pytest.raises(DataError, match="all videos are of the class a; a probe needs at least 2"):
        probe_features(table_of(tmp_path, some_rows(2, dtype="float32", label=["a", "a"])))
