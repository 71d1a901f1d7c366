"""Lists that split a data set: sizes, classes, whole groups, folds, and what is refused before anything is written."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from commands import Command, assert_one_line
from timesformer.data.manifest import read_manifest
from timesformer.data.partition import partition
from timesformer.data.split import split_data
from timesformer.errors import DataError, SettingError

RANDOM_NOTE = "split at random, so clips of one person or recording may be in several parts; --by keeps groups whole"


def write(folder: Path, rows: list[tuple[str, ...]], header: str = "path,label,person") -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "all.csv"
    file.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return file


def people(count: int = 10, each: int = 4) -> list[tuple[str, ...]]:
    return [
        (f"{label}/{person}_{take}.mp4", label, f"p{person}")
        for person in range(count)
        for label in ("a", "b", "c")
        for take in range(each)
    ]


def listed(folder: Path, split: str) -> list[dict[str, str]]:
    with (folder / f"{split}.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_random_parts_have_all_classes_alike(tmp_path: Path) -> None:
    counts = split_data(write(tmp_path, people()), test=0.2, val=0.1).lists
    assert counts == {tmp_path: {"train": 84, "val": 12, "test": 24}}
    for split, each in (("train", 28), ("val", 4), ("test", 8)):
        assert Counter(row["label"] for row in listed(tmp_path, split)) == {"a": each, "b": each, "c": each}
    paths = [row["path"] for split in ("train", "val", "test") for row in listed(tmp_path, split)]
    assert sorted(paths) == sorted(path for path, *_ in people())
    assert len(read_manifest(tmp_path, "train").videos) == 84


def test_groups_stay_whole(tmp_path: Path) -> None:
    split_data(write(tmp_path, people()), by="person", test=0.2, val=0.1)
    groups = {split: {row["person"] for row in listed(tmp_path, split)} for split in ("train", "val", "test")}
    assert {split: len(group) for split, group in groups.items()} == {"train": 7, "val": 1, "test": 2}
    assert not groups["train"] & groups["val"] | groups["train"] & groups["test"] | groups["val"] & groups["test"]


def test_uneven_groups_come_near_the_sizes() -> None:
    """Groups of 1 to 12 videos, classes unequal in them: parts within two videos of a class of what is wanted."""
    classes, groups = [], []
    for group in range(24):
        for video in range(1 + group % 12):
            classes.append(["a" if (video + group) % 3 else "b"])
            groups.append(group)
    for seed in range(5):
        parts = partition(classes, groups, [0.7, 0.3], seed)
        assert all(len({part for part, g in zip(parts, groups, strict=True) if g == group}) == 1 for group in range(24))
        for name in "ab":
            total = sum(label == [name] for label in classes)
            got = sum(label == [name] and part == 1 for label, part in zip(classes, parts, strict=True))
            assert abs(got - 0.3 * total) <= 2


def test_the_seed_decides(tmp_path: Path) -> None:
    file = write(tmp_path, people())
    for out, seed in (("one", 0), ("same", 0), ("other", 1)):
        split_data(file, tmp_path / out, seed=seed)
    one, same, other = (
        {Path(row["path"]).name for row in listed(tmp_path / out, "test")} for out in ("one", "same", "other")
    )
    assert one == same != other


def test_folds_test_every_video_once(tmp_path: Path) -> None:
    file = write(tmp_path, people())
    counts = split_data(file, tmp_path / "folds", by="person", folds=5, val=0.25).lists
    assert list(counts) == [tmp_path / "folds" / f"fold{fold}" for fold in range(1, 6)]
    tested: Counter[str] = Counter()
    for folder in counts:
        rows = {split: listed(folder, split) for split in ("train", "val", "test")}
        assert {split: len({row["person"] for row in part}) for split, part in rows.items()} == {
            "train": 6,
            "val": 2,
            "test": 2,
        }
        tested.update(row["path"] for row in rows["test"])
        video = read_manifest(folder, "train").videos[0].path
        assert video.resolve().parent.parent == tmp_path  # paths are relative to the list
    assert set(tested.values()) == {1}
    assert len(tested) == 120


def test_class_folders(tmp_path: Path) -> None:
    for name in ("x", "y"):
        for number in range(10):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{number}.mp4").touch()
    (tmp_path / "x" / "notes.txt").touch()
    assert split_data(tmp_path, test=0.3) == (
        {tmp_path: {"train": 14, "test": 6}},
        ("ignored: 1 .txt", RANDOM_NOTE),
    )
    test = read_manifest(tmp_path, "test")
    assert Counter(test.labels[video.label] for video in test.videos) == {"x": 3, "y": 3}
    assert all(video.path.exists() for video in test.videos)


def test_class_folders_have_no_groups(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "0.mp4").touch()
    message = "by is person, but class folders have no columns; write a CSV with the columns path,label,person"
    with pytest.raises(SettingError, match=message):
        split_data(tmp_path, by="person")


def test_several_classes_a_video(tmp_path: Path) -> None:
    rows = [(f"{number}.mp4", ("a;b", "a", "b", "")[number % 4]) for number in range(40)]
    split_data(write(tmp_path, rows, "path,labels"), test=0.25)
    found = Counter(name for row in listed(tmp_path, "test") for name in row["labels"].split(";") if name)
    assert found == {"a": 5, "b": 5}
    assert read_manifest(tmp_path, "test").multilabel


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test": 0.9, "val": 0.2}, "test is 0.9 and val 0.2; expected fractions that leave some videos to train on"),
        ({"test": 0.0}, "test is 0 and val 0; expected fractions"),
        ({"folds": 1}, "folds is 1; expected at least 2"),
        ({"folds": 3, "test": 0.2}, "test is 0.2 beside 3 folds, which have their own; give one of them"),
    ],
)
def test_sizes_that_are_refused(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        split_data(write(tmp_path, people()), **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        (people(3), {"by": "persons"}, "has no column persons; it has path, label, person"),
        ([*people(3), ("z.mp4", "a", "")], {"by": "person"}, "z.mp4 has no person; each video needs one"),
        (
            people(3),
            {"by": "person", "folds": 5},
            "fold4/test.csv would have no video of class a, b, c; a has 3 person groups: take fewer folds",
        ),
        ([*people(3), ("z.mp4", "z", "p0")], {}, "test.csv would have no video of class z; z has 1 video: take"),
        ([], {}, "holds no videos"),
        ([*people(3), ("a/0_0.mp4", "a", "p7")], {"by": "person"}, "a/0_0.mp4 is in the groups p0 and p7"),
        ([*people(3), ("", "a", "p0")], {}, "line 38: path '', label 'a'; neither may be empty"),
    ],
)
def test_data_that_are_refused(
    rows: list[tuple[str, ...]], arguments: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        split_data(write(tmp_path, rows), **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["all.csv"]


@pytest.mark.parametrize("name", ["train", "val", "validation", "test"])
def test_lists_are_never_overwritten_or_left_beside_new_ones(name: str, tmp_path: Path) -> None:
    file = write(tmp_path, people())
    (tmp_path / f"{name}.csv").write_text("mine")
    with pytest.raises(DataError, match=rf"{name}\.csv: exists; remove it, or name another folder with --out"):
        split_data(file)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["all.csv", f"{name}.csv"])


def test_data_that_are_split_already(tmp_path: Path) -> None:
    for name in ("train", "val"):
        (tmp_path / name / "a").mkdir(parents=True)
        (tmp_path / name / "a" / "0.mp4").touch()
    with pytest.raises(DataError, match="is split already, into train, val; expected a folder of class folders"):
        split_data(tmp_path)
    (tmp_path / "bus").mkdir()
    (tmp_path / "bus" / "0.mp4").touch()
    with pytest.raises(DataError, match="would have no video of class"):  # a class may be called train
        split_data(tmp_path)


def test_rows_of_one_path_stay_together(tmp_path: Path) -> None:
    rows = [(f"{prefix}{number}.mp4", "ab"[number % 2]) for number in range(40) for prefix in ("", "./")]
    split_data(write(tmp_path, rows, "path,label"), test=0.3)
    parts = {split: {Path(row["path"]) for row in listed(tmp_path, split)} for split in ("train", "test")}
    assert len(parts["test"]) == 12
    assert not parts["train"] & parts["test"]


def test_paths_from_a_folder_that_is_a_link(tmp_path: Path) -> None:
    file = write(tmp_path / "data", [(f"videos/{number}.mp4", "ab"[number % 2]) for number in range(10)], "path,label")
    (tmp_path / "data" / "videos").mkdir()
    for number in range(10):
        (tmp_path / "data" / "videos" / f"{number}.mp4").touch()
    (tmp_path / "deep" / "lists").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "lists")
    split_data(file, tmp_path / "link")
    assert all(video.path.exists() for video in read_manifest(tmp_path / "link", "train").videos)


def test_the_command(command: Command, tmp_path: Path) -> None:
    file = write(tmp_path, people())
    done = command("data", "split", file, "--by", "person", "--test", 0.2, "--out", tmp_path / "lists")
    assert (done.code, done.err) == (0, "")
    assert done.out.split() == f"{tmp_path / 'lists'}: train 96, test 24".split()
    assert_one_line(command("data", "split", file, "--by", "source"), "has no column source")
    assert command("data", "split", file, "--out", tmp_path / "random").err == f"note: {RANDOM_NOTE}\n"
