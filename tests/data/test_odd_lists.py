"""Lists and folders as people really have them: a stray line or file is either read rightly or named, never guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from timesformer.data.folders import find_videos
from timesformer.data.layouts import find_splits
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.errors import DataError, VideoError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def named(manifest: Manifest) -> list[tuple[str, str]]:
    """Paths relative to the data set, and class names."""
    return [(str(path.relative_to(manifest.folder)), manifest.labels[label]) for path, label in manifest.videos]


@pytest.mark.parametrize(
    "text",
    [
        '"path","label"\n"clips/a, b.mp4","run"\n"c.mp4","jump"\n',  # as R and pandas' QUOTE_ALL write it
        'path , label ,subject\n"clips/a, b.mp4",run,7\nc.mp4,jump,8\n',
        '\n  \nlabel,path,\nrun,"clips/a, b.mp4",\n   \njump,c.mp4\n',
        'path,label\r\n"clips/a, b.mp4",run\r\nc.mp4,jump\r\n',
        'path,label,notes\n"clips/a, b.mp4",run,"two\nlines"\nc.mp4,jump\n',
    ],
    ids=["quoted", "spaces", "empty lines", "Windows", "notes of two lines"],
)
def test_ways_to_write_a_csv(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.csv").write_bytes(text.encode())
    train = read_manifest(tmp_path, "train")
    assert named(train) == [("clips/a, b.mp4", "run"), ("c.mp4", "jump")]
    assert train.labels == ("jump", "run")


def test_kinetics_lists_with_spaces_around_lines(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_bytes(b'\r\na "b", c.mp4  1 \r\nd.mp4 0\r\n\r\n')
    assert named(read_manifest(tmp_path, "val")) == [('a "b", c.mp4', "1"), ("d.mp4", "0")]


def test_a_list_whose_first_videos_are_missing(tmp_path: Path) -> None:
    """Kinetics always lacks some: where the others lie must not hang on the first line."""
    touch(tmp_path, "videos_train/x/2.mp4", "rawframes_val/v2/img_00001.jpg")
    (tmp_path / "kinetics400_train_list_videos.txt").write_text("x/1.mp4 0\nx/2.mp4 1\n")
    (tmp_path / "kinetics400_val_list_rawframes.txt").write_text("v1 250 0\nv2 300 1\nv3 10 0\n")
    assert named(read_manifest(tmp_path, "train")) == [("videos_train/x/1.mp4", "0"), ("videos_train/x/2.mp4", "1")]
    assert named(read_manifest(tmp_path, "val")) == [
        ("rawframes_val/v1", "0"),
        ("rawframes_val/v2", "1"),
        ("rawframes_val/v3", "0"),
    ]


@pytest.mark.parametrize("file", ["train.txt", "train.json"])
def test_a_path_that_is_too_long_is_a_video_that_cannot_be_read(tmp_path: Path, file: str) -> None:
    name = 300 * "x"
    something([{"id": name, "template": "run"}], {"run": "0"})(tmp_path)
    if file == "train.txt":
        (tmp_path / "train.json").unlink()
        (tmp_path / file).write_text(f"{name} 12 0\nb.mp4 0\n")
    video = read_manifest(tmp_path, "train").videos[0]
    with pytest.raises(VideoError, match="cannot be read: File name too long"):
        video.open()


def test_folders_that_end_in_a_number_keep_it(tmp_path: Path) -> None:
    touch(tmp_path, "rawframes/take 5/1.jpg", "rawframes/take 6/1.jpg")
    (tmp_path / "train.txt").write_text("take 5 0\ntake 6 1\n")
    assert named(read_manifest(tmp_path, "train")) == [("rawframes/take 5", "0"), ("rawframes/take 6", "1")]


def test_hidden_folders_hold_no_videos(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/a.mp4", "train/run/.thumbs/a.jpg", "train/.ipynb_checkpoints/a.png", "train/.x/b.mp4")
    train = read_manifest(tmp_path, "train")
    assert (train.labels, named(train)) == (("run",), [("train/run/a.mp4", "run")])
    inside = tmp_path / "train" / ".x"
    assert find_videos(inside) == [inside / "b.mp4"]  # asked for by name, it is


def test_pictures_beside_videos_are_no_frames(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/a.mp4", "train/run/a.jpg", "train/run/frames/1.jpg", "train/run/frames/2.JPG")
    assert named(read_manifest(tmp_path, "train")) == [("train/run/a.mp4", "run"), ("train/run/frames", "run")]


def test_a_file_named_train_is_no_split(tmp_path: Path) -> None:
    touch(tmp_path, "train", "val/run/a.mp4")
    assert find_splits(tmp_path) == ["val"]
    with pytest.raises(DataError, match="has no train split; it has val"):
        read_manifest(tmp_path, "train")


def test_class_folders_of_two_names_for_val(tmp_path: Path) -> None:
    touch(tmp_path, "val/x/a.mp4", "validation/x/a.mp4")
    with pytest.raises(DataError, match="more than one list for val: val, validation; keep one"):
        read_manifest(tmp_path, "val")


def test_label_names_may_end_in_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a.mp4 1\n")
    (tmp_path / "label_map.txt").write_text("\ufeffx\ny\n\n\n", encoding="utf-8")
    train = read_manifest(tmp_path, "train")
    assert (train.labels, named(train)) == (("x", "y"), [("a.mp4", "y")])


def test_a_class_called_by_a_number_is_that_class(tmp_path: Path) -> None:
    """Places among the classes and names that are numbers are never mixed."""
    (tmp_path / "test.csv").write_text("a.mp4 2\nb.mp4 0\n")
    manifest = read_manifest(tmp_path, "test")
    assert [label for _, label in manifest.with_labels(("2", "0", "1")).videos] == [0, 1]
    with pytest.raises(DataError, match="class 0 is unknown; the classes are 2, zero, one"):
        manifest.with_labels(("2", "zero", "one"))


def test_folders_that_count_from_one_are_no_places_among_the_classes(tmp_path: Path) -> None:
    touch(tmp_path, "test/1/a.mp4", "test/2/b.mp4")
    with pytest.raises(DataError, match="classes 1, 2 are unknown; the classes are jump, run, swim"):
        read_manifest(tmp_path, "test").with_labels(("jump", "run", "swim"))


def test_words_and_numbers_together_are_words(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("path,label\na.mp4,2\nb.mp4,run\n")
    with pytest.raises(DataError, match="class 2 is unknown; the classes are jump, run, swim"):
        read_manifest(tmp_path, "test").with_labels(("jump", "run", "swim"))


def test_long_lists_of_classes_are_cut_short(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("path,label\n" + "".join(f"{name}.mp4,{name}\n" for name in "abcdefg"))
    with pytest.raises(DataError) as raised:
        read_manifest(tmp_path, "test").with_labels(("a", "z"))
    assert (
        str(raised.value) == f"{tmp_path}/test.csv: classes b, c, d, e, f and 1 more are unknown; the classes are a, z"
    )


def test_a_note_beside_class_folders_is_no_list(tmp_path: Path) -> None:
    touch(tmp_path, "train/run/a.mp4")
    (tmp_path / "notes_train.txt").write_text("\n\nrecorded in May\nb.mp4 0\n")
    (tmp_path / "readme-train.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty_train.txt").touch()
    assert named(read_manifest(tmp_path, "train")) == [("train/run/a.mp4", "run")]


def test_a_note_beside_a_list_is_no_second_list(tmp_path: Path) -> None:
    (tmp_path / "notes_train.txt").write_text("recorded in May\n")
    (tmp_path / "ucf_train.txt").write_text("\n\ufeffb.mp4 0\n".lstrip(), encoding="utf-8")
    touch(tmp_path, "train/run/a.mp4")
    assert named(read_manifest(tmp_path, "train")) == [("b.mp4", "0")]


def csv(text: str) -> Callable[[Path], object]:
    return lambda data: (data / "train.csv").write_text(text)


def numbered(text: str, labels: str) -> Callable[[Path], object]:
    return lambda data: ((data / "train.txt").write_text(text), (data / "labels.txt").write_text(labels))


def something(entries: object, labels: object) -> Callable[[Path], object]:
    return lambda data: (
        (data / "train.json").write_text(json.dumps(entries)),
        (data / "labels.json").write_text(json.dumps(labels)),
    )


LINES = "b.mp4,x\n" * 30000
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "line after empty lines": (csv("path,label\n\n\na.mp4,\n"), r"train\.csv, line 4: path 'a\.mp4', label ''"),
    "list line after empty lines": (
        lambda d: (d / "train.txt").write_text("\n\na.mp4\n"),
        r"train\.txt, line 3: 'a\.mp4'; expected 'path label-number'",
    ),
    "path with a bare comma": (
        csv("path,label\nb.mp4,x\na, b.mp4,x\n"),
        r"train\.csv, line 3: 3 fields, the header has 2",
    ),
    "quote that never ends": (csv('path,label\na.mp4,x\n"b.mp4,x\nc.mp4,x\n'), r"train\.csv, line 3: not CSV that"),
    "quote that never ends, large": (csv('path,label\na.mp4,x\n"b.mp4,x\n' + LINES), r"train\.csv, line 3: not CSV"),
    "label quote that never ends": (csv('path,label\na.mp4,"x\nb.mp4,x\n'), r"train\.csv, line 2: not CSV that can be"),
    "columns in capitals": (csv("Path,Label\na,b\n"), r"train\.csv: the first line is 'Path,Label'; expected a header"),
    "semicolons": (csv("path;label\na;b\n"), r"train\.csv: the first line is 'path;label'; expected a header"),
    "empty line among names": (numbered("a.mp4 1\n", "x\n\ny\n"), r"labels\.txt, line 2: empty; expected a class"),
    "label name twice": (
        numbered("a.mp4 1\n", "x\ny\nx\n"),
        r"labels\.txt, line 3: class x is already in line 1; expected each class once",
    ),
    "negative label": (numbered("a.mp4 -1\n", "x\ny\n"), r"train\.txt, line 1: 'a\.mp4 -1'; expected 'path label"),
    "label names that are not text": (
        lambda d: ((d / "train.txt").write_text("a.mp4 0\n"), (d / "labels.txt").write_bytes(b"\xff\xfe")),
        r"labels\.txt: not a text file in UTF-8",
    ),
    "labels without numbers": (something([], {"Sitting": "one"}), r"labels\.json: 'Sitting' has the number 'one'"),
    "labels as a list": (something([], ["Sitting"]), r"labels\.json: expected .* class names and numbers, got list"),
    "no list": (
        something({"id": "1", "template": "Sitting"}, {"Sitting": "0"}),
        r"train\.json: expected a list of entries with id and template, got dict",
    ),
    "a number as a list": (something(3, {"Sitting": "0"}), r"train\.json: expected a list of .* got int"),
    "entries that are numbers": (something([3], {"Sitting": "0"}), r"train\.json: entry 3; expected id and template"),
    "entries that are text": (something(["id template"], {"Sitting": "0"}), r"train\.json: entry id template;"),
    "template that is no text": (
        something([{"id": "1", "template": 3}], {"Sitting": "0"}),
        r"train\.json: entry .*; expected id and template",
    ),
    "the test list": (something([{"id": "1"}], {"Sitting": "0"}), r"train\.json: entry .*the test list has no labels"),
    "broken labels": (
        lambda d: ((d / "train.json").write_text("[]"), (d / "labels.json").write_text("{")),
        r"labels\.json: not JSON",
    ),
    "videos without a class": (lambda d: touch(d, "train/a.mp4"), "train: holds no videos; expected a folder of"),
    "header alone": (csv("path,label\n"), r"train\.csv: holds no videos; expected at least one"),
    "empty JSON list": (something([], {"Sitting": "0"}), r"train\.json: holds no videos; expected at least one"),
    "a file as data set": (lambda d: (d.rmdir(), d.touch()), "data: a file; DATA is the folder that holds train.csv"),
    "classes without a split": (
        lambda d: touch(d, "run/a.mp4", "jump/b.mp4", "docs/x.pdf", ".git/c.mp4"),
        "folders of videos: jump, run; if these are the classes, `timesformer data split .*data` writes lists$",
    ),
    "a note alone": (
        lambda d: (d / "notes_train.txt").write_text("\nrecorded in May\n"),
        r"notes_train\.txt, line 2: 'recorded in May'; expected 'path label-number'",
    ),
    "label and labels": (csv("path,label,labels\na.mp4,x,x\n"), r"train\.csv: has both a column label and a column"),
    "class twice": (
        csv("path,labels\na.mp4,x;y\n\nb.mp4,y; x ;y\n"),
        r"train\.csv, line 4: labels 'y; x ;y'; class y is there more than once",
    ),
    "class without a name": (csv("path,labels\na.mp4,x;;y\n"), r"line 2: labels 'x;;y'; a class without a name"),
    "labels without a path": (csv("path,labels\n,x;y\n"), r"line 2: path '', label 'x;y'; neither may be empty"),
    "no classes at all": (csv("path,labels\na.mp4,\nb.mp4,\n"), r"train\.csv: no video has a class"),
    "quarantine without a header": (
        lambda d: (touch(d, "train/x/a.mp4"), (d / "quarantine.csv").write_text("a.mp4\n")),
        r"quarantine\.csv: the first line is 'a\.mp4'; expected a header path,reason",
    ),
    "quarantine that is no text": (
        lambda d: (touch(d, "train/x/a.mp4"), (d / "quarantine.csv").write_bytes(b"\xff\xfe")),
        r"quarantine\.csv: not a text file",
    ),
    "quarantine of no path": (
        lambda d: (touch(d, "train/x/a.mp4"), (d / "quarantine.csv").write_text("path,reason\na.mp4,x\n,y\n")),
        r"quarantine\.csv, line 3: the path is empty",
    ),
    "quarantine with an open quote": (
        lambda d: (touch(d, "train/x/a.mp4"), (d / "quarantine.csv").write_text('path,reason\n"a.mp4,x\n')),
        r"quarantine\.csv, line 2: not CSV that can be read",
    ),
    "all in quarantine": (
        lambda d: (touch(d, "train/x/a.mp4"), (d / "quarantine.csv").write_text("path,reason\ntrain/x/a.mp4,cut\n")),
        r"train: all of its 1 videos are in quarantine\.csv",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lists(tmp_path: Path, name: str) -> None:
    make, message = BAD[name]
    data = tmp_path / "data"
    data.mkdir()
    make(data)
    with pytest.raises(DataError, match=message) as raised:
        read_manifest(data, "train")
    assert str(raised.value).startswith(str(data))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400
