"""Folds of a split: all of it tested once, groups whole, classes alike, and what is refused."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from timesformer.data.folds import Folds, classes_untested, make_folds
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.errors import DataError, SettingError


def listed(folder: Path, rows: list[tuple[str, ...]], header: str = "path,label,person") -> Manifest:
    (folder / "train.csv").write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return read_manifest(folder, "train")


def people(count: int = 6, each: int = 3) -> list[tuple[str, ...]]:
    return [
        (f"{label}_{person}_{take}.mp4", label, str(person))
        for person in range(1, count + 1)
        for label in ("a", "b")
        for take in range(each)
    ]


def test_groups_stay_whole_and_every_video_is_tested_once(tmp_path: Path) -> None:
    manifest = listed(tmp_path, people())
    folds = make_folds(manifest, 3, "person")
    assert sorted(row for fold in folds for row in fold.test) == list(range(36))
    groups = manifest.groups("person")
    for fold in folds:
        assert sorted(fold.training + fold.test) == list(range(36))
        assert {groups[row] for row in fold.test} == set(fold.groups)
        assert not {groups[row] for row in fold.test} & {groups[row] for row in fold.training}
        assert Counter(manifest.videos[row].label for row in fold.test) == {0: 6, 1: 6}
    assert sorted(group for fold in folds for group in fold.groups) == list("123456")
    assert classes_untested(manifest, folds) == 0


def test_one_fold_a_group_in_the_order_of_numbers(tmp_path: Path) -> None:
    folds = make_folds(listed(tmp_path, people(11)), "groups", "person")
    assert [fold.groups for fold in folds] == [(str(person),) for person in range(1, 12)]
    assert {len(fold.test) for fold in folds} == {6}


def test_without_a_column_rows_of_one_video_stay_together(tmp_path: Path) -> None:
    rows = [(f"{number}.mp4", "ab"[number % 2]) for number in range(8)]
    manifest = listed(tmp_path, [*rows, *rows[:4], ("./0.mp4", "a")], "path,label")
    folds = make_folds(manifest, 4, None)
    assert all(fold.groups == () for fold in folds)
    tested = [{manifest.videos[row].path.name for row in fold.test} for fold in folds]
    assert sorted(name for names in tested for name in names) == sorted(name for name, _ in rows)
    assert folds == make_folds(manifest, 4, None)


def test_classes_without_a_test_video_are_counted(tmp_path: Path) -> None:
    manifest = listed(tmp_path, [("a1", "a", "x"), ("a2", "a", "y"), ("b1", "b", "x"), ("b2", "b", "z")])
    assert classes_untested(manifest, make_folds(manifest, "groups", "person")) == 2


BAD: dict[str, tuple[Folds, str | None, str]] = {
    "one fold": (1, None, "folds is 1; expected at least 2, or groups"),
    "no column": ("groups", None, "folds is groups, one fold for each; name their column with --group COLUMN"),
    "few groups": (7, "person", r"train.csv: 7 folds of 6 groups of the column person; expected at least as many"),
    "few videos": (40, None, r"train.csv: 40 folds of 36 videos; expected at least as many as folds"),
    "another column": (2, "source", r"train.csv: has no column source; it has path, label, person"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    folds, column, line = BAD[name]
    with pytest.raises((SettingError, DataError), match=re.escape(line)):
        make_folds(listed(tmp_path, people()), folds, column)


def test_a_class_that_a_fold_would_not_be_trained_on(tmp_path: Path) -> None:
    manifest = listed(tmp_path, [*people(3), ("c_1.mp4", "c", "2"), ("c_2.mp4", "c", "2")])
    line = r"train.csv: fold 2 \(person 2\) has all videos of class c, which would have none to train on; take other"
    with pytest.raises(DataError, match=line):
        make_folds(manifest, "groups", "person")


def test_one_group(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="groups folds of 1 groups of the column person"):
        make_folds(listed(tmp_path, people(1)), "groups", "person")
