"""Parts of a manifest as lists: read again, they are the same, whatever layout they came from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from timesformer.data.manifest import Manifest, read_manifest
from timesformer.data.write_lists import write_lists
from timesformer.errors import DataError


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def divided(data: Path, out: Path) -> tuple[Manifest, Manifest, Manifest]:
    """The whole, and its even and odd rows as they are read from their lists."""
    whole = read_manifest(data, "train")
    rows = range(len(whole.videos))
    write_lists(whole, {"train": rows[::2], "test": rows[1::2]}, out)
    return whole, read_manifest(out, "train"), read_manifest(out, "test")


def assert_same(whole: Manifest, *parts: Manifest) -> None:
    for begin, part in enumerate(parts):
        expected = [(str(video.path), video.labels, video.frames) for video in whole.videos[begin::2]]
        found = part.with_labels(whole.labels)
        assert [(str(video.path), video.labels, video.frames) for video in found.videos] == expected
        assert part.multilabel == whole.multilabel


def test_class_folders(tmp_path: Path) -> None:
    names = ["über/a b.mp4", "über/c,d.mp4", 'x/"q".mp4', "x/2.mp4"]
    files(tmp_path / "data", *(f"train/{name}" for name in names))
    whole, *parts = divided(tmp_path / "data", tmp_path / "out")
    assert_same(whole, *parts)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["test.csv", "train.csv"]
    assert [part.labels for part in parts] == [whole.labels] * 2


@pytest.mark.parametrize("label", ["label", "labels"])
def test_csv_keeps_its_columns(tmp_path: Path, label: str) -> None:
    cells = ["a", "b", "a;b", "", "b", "a"] if label == "labels" else list("abbaba")
    rows = "".join(f'{number}.mp4,{number}x,{cell},"p,{number // 2}"\n' for number, cell in enumerate(cells))
    (tmp_path / "train.csv").write_text(f"path,more,{label},person\n{rows}bad.mp4,,a,p\n")
    (tmp_path / "quarantine.csv").write_text("path,reason\nbad.mp4,broken\n")
    whole, *parts = divided(tmp_path, tmp_path / "out")
    assert_same(whole, *parts)
    assert [part.groups("person") for part in parts] == [["p,0", "p,1", "p,2"]] * 2
    assert (tmp_path / "out" / "test.csv").read_text().splitlines()[:2] == [
        f"path,more,{label},person",
        f'{tmp_path / "1.mp4"},1x,b,"p,0"',
    ]


def test_a_class_is_spelled_alike_in_all_parts(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    (tmp_path / "train.csv").write_text(f"path,label\n0.mp4,{composed}\n1.mp4,{decomposed}\n2.mp4,b\n3.mp4,b\n")
    whole, *parts = divided(tmp_path, tmp_path / "out")
    assert [part.labels for part in parts] == [("b", composed)] * 2
    assert_same(whole, *parts)


def test_numbers_stay_indices(tmp_path: Path) -> None:
    """As names they would be sorted 0, 1, 10, 11, 2, and not be taken as indices into the classes of weights."""
    (tmp_path / "train.txt").write_text("".join(f"{number}.mp4 {number % 12}\n" for number in range(24)))
    whole, *parts = divided(tmp_path, tmp_path / "out")
    assert_same(whole, *parts)
    assert all(part.labels == whole.labels == tuple(map(str, range(12))) for part in parts)


def test_names_in_their_order_and_counted_frames(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("walk\nrun\nrest\n")
    lines = []
    for number in range(4):
        files(tmp_path, *(f"v {number}/img_{frame}.png" for frame in range(number + 1)))
        lines.append(f"v {number} {number + 1} {number % 2}\n")
    (tmp_path / "train.txt").write_text("".join(lines))
    whole, *parts = divided(tmp_path, tmp_path / "out")
    assert [video.frames for video in whole.videos] == [1, 2, 3, 4]
    assert_same(whole, *parts)
    assert all(part.labels == ("walk", "run", "rest") for part in parts)


def test_something_something(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text(json.dumps({"Pushing something": "0", "Moving something": "1"}))
    entries = [{"id": n, "template": ("Pushing [something]", "Moving [something]")[n % 2]} for n in range(4)]
    (tmp_path / "train.json").write_text(json.dumps(entries))
    whole, *parts = divided(tmp_path, tmp_path / "out")
    assert_same(whole, *parts)
    assert all(part.labels == ("Pushing something", "Moving something") for part in parts)


def test_relative_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files(Path("data"), "train/a/1.mp4", "train/b/2.mp4")
    whole = read_manifest("data", "train")
    write_lists(whole, {"train": [0, 1]}, Path("out"))
    found = read_manifest("out", "train")
    assert [video.path for video in found.videos] == [
        tmp_path / "data" / video.path.relative_to("data") for video in whole.videos
    ]


def test_a_path_that_no_list_can_hold(tmp_path: Path) -> None:
    files(tmp_path / "data", "train/a/1.mp4", "train/b/two\nlines.mp4")
    with pytest.raises(DataError, match=r"lines\.mp4"):
        divided(tmp_path / "data", tmp_path / "out")
