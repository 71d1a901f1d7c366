"""Every layout people have, and one clear line for whatever is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from timesformer.data.folders import find_videos
from timesformer.data.layouts import find_splits
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.errors import DataError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def named(manifest: Manifest) -> list[tuple[str, str]]:
    """Paths relative to the data set, and class names."""
    return [(str(path.relative_to(manifest.folder)), manifest.labels[label]) for path, label in manifest.videos]


def test_class_folders(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "train/run/b.mp4",
        "train/run/a.avi",
        "train/jump/deep/c.webm",
        "train/run/notes.txt",
        "train/run/.hidden.mp4",
        "train/jump/frames/img_1.jpg",
        "train/jump/frames/img_2.jpg",
        "validation/swim/d.mkv",
        "test/run/e.MP4",
    )
    train = read_manifest(tmp_path, "train")
    assert train.labels == ("jump", "run")
    assert named(train) == [
        ("train/jump/deep/c.webm", "jump"),
        ("train/jump/frames", "jump"),
        ("train/run/a.avi", "run"),
        ("train/run/b.mp4", "run"),
    ]
    assert named(read_manifest(tmp_path, "val")) == [("validation/swim/d.mkv", "swim")]
    assert named(read_manifest(tmp_path, "test")) == [("test/run/e.MP4", "run")]
    assert find_splits(tmp_path) == ["train", "val", "test"]


def test_without_a_column_rows_of_one_path_are_a_group(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "train.csv").write_text("path,label\na.mp4,x\nb.mp4,y\n./a.mp4,x\n")
    first, other, again = read_manifest(tmp_path, "train").groups(None)
    assert first == again != other


def test_groups_are_those_of_the_videos_that_are_left(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("path,label,person\n./a.mp4,x,7\nb.mp4,x,3\nsub/c.mp4,y,7\n")
    (tmp_path / "quarantine.csv").write_text("path,reason\na.mp4,broken\n")
    (tmp_path / "test.txt").write_text("d.mp4 0\n")
    train = read_manifest(tmp_path, "train")
    assert train.groups("person") == ["3", "7"]
    assert read_manifest(tmp_path, "train", quarantine=False).groups("person") == ["7", "3", "7"]
    second = train.part([1])
    assert (named(second), second.groups("person"), second.labels) == ([("sub/c.mp4", "y")], ["7"], ("x", "y"))
    with pytest.raises(DataError, match=r"train\.csv: has no column subject; it has path, label, person"):
        train.groups("subject")
    with pytest.raises(
        DataError,
        match=r"test\.txt: has no column person: no header with path,label; groups need CSV lists with the header",
    ):
        read_manifest(tmp_path, "test").groups("person")


def test_csv_with_a_header(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(
        '\ufeffpath, label, subject\nclips/b.mp4,zeta,1\n"clips/with, comma.mp4",alpha,2\n\n'.encode()
    )
    (tmp_path / "test.csv").write_text("label,path\nomega,clips/t.mp4\n")
    train = read_manifest(tmp_path, "train")
    assert train.labels == ("alpha", "zeta")
    assert named(train) == [("clips/b.mp4", "zeta"), ("clips/with, comma.mp4", "alpha")]
    assert named(read_manifest(tmp_path, "test")) == [("clips/t.mp4", "omega")]


def test_kinetics_csv_of_the_official_code(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a b.mp4 0\n/data/c.mp4 2\n")
    (tmp_path / "val.csv").write_text("d.mp4 4\n")
    train = read_manifest(tmp_path, "train")
    assert train.labels == ("0", "1", "2")
    assert [(path, label) for path, label in train.videos] == [(tmp_path / "a b.mp4", 0), (Path("/data/c.mp4"), 2)]
    (tmp_path / "labels.txt").write_text("abseiling\nair drumming\nanswering\nbaking\nbowling\n")
    assert named(read_manifest(tmp_path, "val")) == [("d.mp4", "bowling")]


def test_mmaction2_lists(tmp_path: Path) -> None:
    touch(tmp_path, "videos_train/x/1.mp4", "rawframes_val/v1/img_00001.jpg")
    (tmp_path / "kinetics400_train_list_videos.txt").write_text("x/1.mp4 1\nx/2.mp4 0\n")
    (tmp_path / "kinetics400_val_list_rawframes.txt").write_text("v1 250 1\nv2 300 0\n")
    (tmp_path / "label_map_k400.txt").write_text("abseiling\nair drumming\n")
    train = read_manifest(tmp_path, "train")
    assert named(train) == [("videos_train/x/1.mp4", "air drumming"), ("videos_train/x/2.mp4", "abseiling")]
    val = read_manifest(tmp_path, "val")
    assert named(val)[0] == ("rawframes_val/v1", "air drumming")


@pytest.mark.parametrize("new", [False, True])
def test_something_something(tmp_path: Path, new: bool) -> None:
    place = tmp_path / "labels" if new else tmp_path
    prefix = "" if new else "something-something-v2-"
    place.mkdir(exist_ok=True)
    touch(tmp_path, "20bn-something-something-v2/7.webm", "20bn-something-something-v2/8.mp4")
    entries = [
        {"id": "7", "label": "holding potato", "template": "Holding [something]", "placeholders": ["potato"]},
        {"id": "8", "label": "x", "template": "Dropping [something] behind [something]"},
    ]
    (place / f"{prefix}train.json").write_text(json.dumps(entries))
    (place / f"{prefix}validation.json").write_text(json.dumps(entries[:1]))
    numbers = {"Holding something": "1", "Dropping something behind something": "0"}
    (place / f"{prefix}labels.json").write_text(json.dumps(numbers))
    train = read_manifest(tmp_path, "train")
    assert train.labels == ("Dropping something behind something", "Holding something")
    assert named(train) == [
        ("20bn-something-something-v2/7.webm", "Holding something"),
        ("20bn-something-something-v2/8.mp4", "Dropping something behind something"),
    ]
    assert len(read_manifest(tmp_path, "val").videos) == 1


def test_labels_of_a_model_number_the_videos(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("path,label\na.mp4,run\nb.mp4,jump\n")
    manifest = read_manifest(tmp_path, "test").with_labels(("swim", "run", "jump"))
    assert [label for _, label in manifest.videos] == [1, 2]
    with pytest.raises(DataError, match=r"test\.csv: class run is unknown; the classes are jump, swim"):
        read_manifest(tmp_path, "test").with_labels(("jump", "swim"))


def test_numbered_labels_are_those_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("a.mp4 2\nb.mp4 0\n")
    manifest = read_manifest(tmp_path, "test").with_labels(("swim", "run", "jump"))
    assert [label for _, label in manifest.videos] == [2, 0]
    with pytest.raises(DataError, match="class 2 is unknown"):
        read_manifest(tmp_path, "test").with_labels(("swim", "run"))


def test_find_videos_of_a_folder_of_frames(tmp_path: Path) -> None:
    touch(tmp_path, "1.png", "2.png")
    assert find_videos(tmp_path) == [tmp_path]


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing there": (lambda d: None, r"no data set found; expected train/ with class folders, train\.csv"),
    "wrong column": (
        lambda d: (d / "train.csv").write_text("file,label\na,b\n"),
        r"train\.csv: the first line is 'file,label'; expected a header path,label",
    ),
    "empty label": (
        lambda d: (d / "train.csv").write_text("path,label\na.mp4,x\nb.mp4,\n"),
        r"train\.csv, line 3: path 'b\.mp4', label ''; neither may be empty",
    ),
    "empty file": (lambda d: (d / "train.csv").write_text(""), r"train\.csv: the first line is ''"),
    "header alone": (lambda d: (d / "train.csv").write_text("path,label\n"), r"train\.csv: holds no videos"),
    "not a number": (
        lambda d: (d / "train.txt").write_text("a.mp4 0\nb.mp4 run\n"),
        r"train\.txt, line 2: 'b\.mp4 run'; expected 'path label-number'",
    ),
    "number too large": (
        lambda d: ((d / "train.csv").write_text("a.mp4 3\n"), (d / "labels.txt").write_text("x\ny\n")),
        r"train\.csv: label number 3; there are 2 label names, so at most 1",
    ),
    "another split": (lambda d: touch(d, "val/x/a.mp4"), "has no train split; it has val"),
    "two lists": (
        lambda d: ((d / "a_train.txt").write_text("a 0\n"), (d / "b_train.txt").write_text("a 0\n")),
        r"more than one list for train: a_train\.txt, b_train\.txt",
    ),
    "not text": (lambda d: (d / "train.csv").write_bytes(b"\xff\xfe\x00"), r"train\.csv: not a text file"),
    "not JSON": (
        lambda d: ((d / "train.json").write_text("[{"), (d / "labels.json").write_text("{}")),
        r"train\.json: not JSON",
    ),
    "JSON without labels": (lambda d: (d / "train.json").write_text("[]"), r"no \*labels\.json beside train\.json"),
    "template unknown": (
        lambda d: (
            (d / "train.json").write_text('[{"id": "1", "template": "Sitting"}]'),
            (d / "labels.json").write_text('{"Standing": "0"}'),
        ),
        r"train\.json: template 'Sitting' is not in labels\.json",
    ),
    "no videos": (lambda d: (d / "train" / "x").mkdir(parents=True), r"train: holds no videos"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data(tmp_path: Path, name: str) -> None:
    make, message = BAD[name]
    make(tmp_path)
    with pytest.raises(DataError, match=message) as raised:
        read_manifest(tmp_path, "train")
    assert "\n" not in str(raised.value)


def test_a_folder_one_level_too_deep_and_a_split_that_is_not_there(tmp_path: Path) -> None:
    for split in ("train", "val"):
        touch(tmp_path, f"own/{split}/x/a.mp4")
    with pytest.raises(DataError, match=r"own/train: no data set found, but a split of one; did you mean .*/own\?$"):
        read_manifest(tmp_path / "own" / "train", "train")
    with pytest.raises(DataError, match=r"own: has no test split; it has train, val; --split val takes that one$"):
        read_manifest(tmp_path / "own", "test")


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="split 'dev': expected train, val or test"):
        read_manifest(tmp_path, "dev")
    with pytest.raises(DataError, match="nowhere: no such data folder"):
        read_manifest(tmp_path / "nowhere", "train")
