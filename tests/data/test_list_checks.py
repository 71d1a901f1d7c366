"""Lists that were written for another reader, and classes in two spellings: named, or read as what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from timesformer.data.check import _read_splits
from timesformer.data.manifest import Manifest, read_manifest
from timesformer.errors import DataError

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"
SEVERAL = "several classes a video need a CSV file with the columns path,labels"
FURTHER = f"expected 'path label-number': frame counts are for folders of frames, and {SEVERAL}"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def named(manifest: Manifest) -> list[tuple[str, str]]:
    return [(str(path.relative_to(manifest.folder)), manifest.labels[label]) for path, label in manifest.videos]


def message(data: Path) -> str:
    with pytest.raises(DataError) as raised:
        read_manifest(data, "train")
    return str(raised.value).removeprefix(f"{data}/")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a.mp4 0\nx/b.avi 21 0\n",
            f"2 numbers after x/b.avi; {FURTHER}",
        ),
        (
            "a.mp4 0 3 7\n",
            f"3 numbers after a.mp4; {FURTHER}",
        ),
        ("v1 250 0 3\nv2 300 1 2\n", f"3 numbers after v1; {SEVERAL}"),
    ],
)
def test_further_numbers(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "train.txt").write_text(text)
    assert message(tmp_path) == f"train.txt: {expected}"


@pytest.mark.parametrize(
    ("paths", "there"),
    [
        (["subj 1 00", "subj 1 01"], ["subj 1 00/1.jpg", "subj 1 01/1.jpg"]),
        (["subj 1 00", "subj 1 01"], ["videos/subj 1 01/1.jpg"]),
        (["clip.avi 00", "clip.avi 01"], ["clip.avi 01/1.jpg"]),
        (["a.mp4", "clip.avi 2 01"], ["a.mp4", "clip.avi 2 01"]),
    ],
)
def test_numbers_that_are_part_of_names(tmp_path: Path, paths: list[str], there: list[str]) -> None:
    touch(tmp_path, *there)
    (tmp_path / "train.txt").write_text("".join(f"{path} 0\n" for path in paths))
    root = tmp_path / "videos" if there[0].startswith("videos") else tmp_path
    videos = read_manifest(tmp_path, "train").videos
    assert [(video.path, video.label, video.frames) for video in videos] == [(root / path, 0, None) for path in paths]


@pytest.mark.parametrize("numbers", ["0 3", "0 3 7"])
def test_further_numbers_after_one_of_the_videos(tmp_path: Path, numbers: str) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "train.txt").write_text(f"a.mp4 0\nb.mp4 {numbers}\n")
    assert message(tmp_path) == f"train.txt: {len(numbers.split())} numbers after b.mp4; {FURTHER}"


def test_several_labels_with_commas(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a.mp4 0\nb.mp4 0,3\n")
    assert message(tmp_path) == f"train.txt, line 2: 'b.mp4 0,3'; expected 'path label-number'; {SEVERAL}"


def test_folders_of_frames_that_are_called_like_files_keep_their_counts(tmp_path: Path) -> None:
    touch(tmp_path, "rawframes/a.avi/1.jpg", "rawframes/b.avi/1.jpg")
    (tmp_path / "train.txt").write_text("gone.avi 12 0\na.avi 1 0\nb.avi 1 1\n")
    assert named(read_manifest(tmp_path, "train")) == [
        ("rawframes/gone.avi", "0"),
        ("rawframes/a.avi", "0"),
        ("rawframes/b.avi", "1"),
    ]


@pytest.mark.parametrize(
    ("file", "text", "path"),
    [
        ("train.txt", "run\\a.mp4 0\n", "run\\a.mp4"),
        ("train.csv", "path,label\nb.mp4,x\nrun\\a.mp4,y\n", "run\\a.mp4"),
        ("train.csv", "C:\\data\\a.mp4 1\n", "C:\\data\\a.mp4"),
        ("train.txt", "/mnt/run\\a.mp4 0\n", "/mnt/run\\a.mp4"),
    ],
)
def test_backslashes(tmp_path: Path, file: str, text: str, path: str) -> None:
    (tmp_path / file).write_text(text)
    expected = f"{file}: {path} has backslashes, as Windows writes paths; write / instead"
    assert message(tmp_path) == expected


@pytest.mark.parametrize("data", [".", "../data", "sub\\folder/.."])
def test_odd_paths_are_named_as_the_list_has_them(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data/sub\\folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "data")
    list_file = Path("train.csv")
    list_file.write_text(f"path,label\nvideos\\a.mp4,x\n{tmp_path / 'data'}/b\\a.mp4,x\n")
    expected = "videos\\a.mp4 has backslashes, as Windows writes paths; write / instead"
    assert message(Path(data)).endswith(f"train.csv: {expected}")
    list_file.write_text(f"path,label\n{tmp_path / 'data'}/b\\a.mp4,x\n")
    assert message(Path(data)).endswith(r"train.csv: b\a.mp4 has backslashes, as Windows writes paths; write / instead")
    list_file.write_bytes(b"path,label\n/mnt/b\xe9.mp4,x\n")
    expected = "/mnt/b\udce9.mp4 is not UTF-8, and no such file is there; save the list as UTF-8"
    assert message(Path(data)).endswith(f"train.csv: {expected}")


def test_lists_in_another_encoding(tmp_path: Path) -> None:
    """Where the files are there, their names are so; where none is, it was the list that was saved so."""
    touch(tmp_path, "b\udce9.mp4")
    (tmp_path / "train.csv").write_bytes(b"path,label\na.mp4,caf\xe9\nb\xe9.mp4,bar\n")
    assert read_manifest(tmp_path, "train").notes == (
        "class caf\udce9 is not UTF-8; if the list was saved so, save it as UTF-8",
    )
    (tmp_path / "b\udce9.mp4").unlink()
    assert message(tmp_path) == "train.csv: b\udce9.mp4 is not UTF-8, and no such file is there; save the list as UTF-8"


def test_backslashes_that_are_part_of_names(tmp_path: Path) -> None:
    touch(tmp_path, "a\\b.mp4", "test/run\\n/x.mp4")
    (tmp_path / "train.txt").write_text("gone\\b.mp4 0\na\\b.mp4 0\n")
    assert [path.name for path, _ in read_manifest(tmp_path, "train").videos] == ["gone\\b.mp4", "a\\b.mp4"]
    assert read_manifest(tmp_path, "test").labels == ("run\\n",)


def test_label_numbers_that_count_from_one(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a.mp4 1\nb.mp4 2\n")
    assert read_manifest(tmp_path, "train").notes == (
        "label numbers begin with 1; they count from 0, so no video is of class 0",
    )
    (tmp_path / "labels.txt").write_text("run\njump\n")
    assert message(tmp_path) == (
        "train.txt: label number 2; there are 2 label names, so at most 1; they count from 0, not from 1"
    )
    (tmp_path / "labels.txt").write_text("run\njump\nswim\n")
    assert read_manifest(tmp_path, "train").notes == (
        "label numbers begin with 1; they count from 0, so no video is of class run",
    )
    (tmp_path / "train.txt").write_text("a.mp4 0\nb.mp4 2\n")
    assert read_manifest(tmp_path, "train").notes == ()


def test_a_number_that_is_no_class(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a.mp4 20231105\n")
    assert message(tmp_path) == "train.txt: label number 20231105; expected numbers of classes, below 100000"


def test_paths_spelled_otherwise_than_the_files(tmp_path: Path) -> None:
    """Every folder and file by itself; what is there as it is listed stays so."""
    touch(tmp_path, f"{COMPOSED}/{DECOMPOSED}.mp4", f"{DECOMPOSED}.mp4", f"{DECOMPOSED}-2.mp4", f"{COMPOSED}-2.mp4")
    there = [f"{COMPOSED}/{DECOMPOSED}.mp4", f"{DECOMPOSED}.mp4", f"{COMPOSED}-2.mp4", f"{DECOMPOSED}-2.mp4"]
    listed = [f"{DECOMPOSED}/{COMPOSED}.mp4", f"{tmp_path}/{COMPOSED}.mp4", *there[2:], f"gone {DECOMPOSED}.mp4"]
    (tmp_path / "train.csv").write_text("path,label\n" + "".join(f"{path},x\n" for path in listed))
    assert [path for path, _ in named(read_manifest(tmp_path, "train"))] == [*there, listed[-1]]


def test_text_lists_spelled_otherwise_than_the_files(tmp_path: Path) -> None:
    touch(tmp_path, f"videos_train/{DECOMPOSED}.mp4", f"rawframes_val/{COMPOSED}/1.jpg")
    (tmp_path / "train.txt").write_text(f"{COMPOSED}.mp4 0\n")
    (tmp_path / "val.txt").write_text(f"{DECOMPOSED} 12 0\n")
    videos = [video for split in ("train", "val") for video in read_manifest(tmp_path, split).videos]
    assert [(video.path, video.frames) for video in videos] == [
        (tmp_path / f"videos_train/{DECOMPOSED}.mp4", None),
        (tmp_path / f"rawframes_val/{COMPOSED}", 12),
    ]


NOTE = "class {} is spelled in two ways, composed and decomposed; it is one"


def test_two_spellings_in_a_list(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(f"path,label\na.mp4,{DECOMPOSED}\nb.mp4,{COMPOSED}\nc.mp4,bar\n")
    train = read_manifest(tmp_path, "train")
    assert named(train) == [("a.mp4", DECOMPOSED), ("b.mp4", DECOMPOSED), ("c.mp4", "bar")]
    assert (train.labels, train.notes) == (("bar", DECOMPOSED), (NOTE.format(DECOMPOSED),))
    (tmp_path / "train.csv").write_text(f"path,labels\na.mp4,{DECOMPOSED};{COMPOSED}\n")
    assert message(tmp_path).endswith("is there more than once")


def test_two_spellings_of_folders(tmp_path: Path) -> None:
    touch(tmp_path, f"train/{COMPOSED}/a.mp4", f"train/{DECOMPOSED}/b.mp4", "train/bar/c.mp4", f"val/{COMPOSED}/d.mp4")
    train = read_manifest(tmp_path, "train")
    assert (train.labels, train.notes) == (("bar", DECOMPOSED), (NOTE.format(DECOMPOSED),))
    assert sorted(path.name for path, label in train.videos if label == 1) == ["a.mp4", "b.mp4"]
    val = read_manifest(tmp_path, "val").with_labels(train.labels)
    assert named(val) == [(f"val/{COMPOSED}/d.mp4", DECOMPOSED)]


def test_two_spellings_among_label_names(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a.mp4 0\n")
    (tmp_path / "labels.txt").write_text(f"{COMPOSED}\n{DECOMPOSED}\n")
    assert message(tmp_path).startswith("labels.txt, line 2: class cafe\u0301 is already in line 1;")


def test_a_check_takes_them_for_one_class_in_all_splits(tmp_path: Path) -> None:
    touch(tmp_path, f"train/{COMPOSED}/a.mp4", f"val/{DECOMPOSED}/b.mp4")
    manifests, _ = _read_splits(tmp_path)
    assert {manifest.labels for manifest in manifests.values()} == {(COMPOSED,)}


def test_weights_that_have_both_spellings_as_classes_keep_them(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text(f"path,label\na.mp4,{COMPOSED}\n")
    test = read_manifest(tmp_path, "test")
    assert test.with_labels((DECOMPOSED, COMPOSED)).videos[0].label == 1
    assert test.with_labels((COMPOSED, DECOMPOSED)).videos[0].label == 0
    assert test.with_labels(("bar", DECOMPOSED)).videos[0].label == 1
