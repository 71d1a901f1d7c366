"""`timesformer features`, `search` and `probe`: what they print, and what is refused in one line."""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from pathlib import Path

import pyarrow.parquet
import pytest

from commands import Command, assert_one_line
from started import Started

WORDS = ("--workers", 0, "--device", "cpu", "--precision", "fp32")


@pytest.fixture(scope="module")
def data(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two splits, with a person of each video."""
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "test"):
        shutil.copytree(bars / split, folder / "videos" / split)
        paths = sorted((folder / "videos" / split).rglob("*.mp4"))
        rows = [f"{path.relative_to(folder)},{path.parent.name},p{number % 4}" for number, path in enumerate(paths)]
        (folder / f"{split}.csv").write_text("path,label,person\n" + "\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def file(run: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of both splits. Not to be changed."""
    path = tmp_path_factory.mktemp("features") / "f.parquet"
    process = Started("features", run, data, "--out", path, *WORDS)
    said = process.communicate()
    assert process.returncode == 0, said
    return path


def test_a_data_set(file: Path) -> None:
    table = pyarrow.parquet.read_table(file)
    assert table.column_names == ["id", "video", "split", "label", "person", "start_s", "end_s", "problem", "vector"]
    assert table.num_rows == 12
    assert table.column("person").to_pylist()[:4] == ["p0", "p1", "p2", "p3"]


def test_windows_of_videos(command: Command, run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.parquet"
    (tmp_path / "empty.mp4").touch()
    words = ("features", run, data / "videos" / "test", tmp_path / "empty.mp4", "--window", 0.5, "--out", out, *WORDS)
    result = command(*words)
    assert_one_line(result, "1 of 5 videos cannot be read")
    assert "skipped: " in result.err
    rows = pyarrow.parquet.read_table(out).to_pylist()
    done = re.search(rf"done: 5 videos, {len(rows)} rows, 1 unreadable, [0-9.]+ videos/s; rows in", result.err)
    assert done, result.err
    assert [row["start_s"] for row in rows[:3]] == [0.0, 0.25, 0.5]
    assert (rows[-1]["problem"], rows[-1]["vector"]) == ("the file is empty", None)
    again = command(*words, "--resume")
    assert again.code == 2
    assert again.err.splitlines() == [
        f"{out}: is complete, with all {len(rows)} rows",
        "timesformer: 1 of 5 videos cannot be read",
    ]
    result = command("search", out, "--query", rows[0]["id"], "--group", "video", "--json", "--top", 3)
    assert {Path(row["video"]).parent.name for row in json.loads(result.out)} <= {"left", "right"}
    assert rows[0]["video"] not in {row["video"] for row in json.loads(result.out)}


def test_arrays(command: Command, run: Path, data: Path, tmp_path: Path) -> None:
    result = command("features", run, data, "--split", "test", "--pool", "frames", "--out", tmp_path / "arrays", *WORDS)
    assert result.code == 0, result.err
    assert len(list((tmp_path / "arrays").rglob("*.npy"))) == 4
    facts = json.loads((tmp_path / "arrays" / "videos" / "test" / "left" / "0.json").read_text())
    assert (facts["label"], facts["person"], facts["pool"]) == ("left", "p0", "frames")


def test_search(command: Command, run: Path, data: Path, file: Path) -> None:
    """By an id, which does not answer for itself; by a video, which does."""
    name = "videos/train/left/1.mp4"
    result = command("search", file, "--query", name, "--top", 3)
    lines = result.out.splitlines()
    assert lines[0].split() == ["similarity", "id", "label", "start_s", "end_s"]
    assert (len(lines), result.code) == (4, 0)
    assert name not in result.out
    rows = json.loads(command("search", file, "--query", name, "--json").out)
    assert len(rows) == 10
    assert [row["similarity"] for row in rows] == sorted((row["similarity"] for row in rows), reverse=True)
    rows = json.loads(command("search", file, "--query", name, "--group", "person", "--json", "--top", 20).out)
    assert {row["person"] for row in rows} == {"p0", "p2", "p3"}
    assert len(rows) == 9
    words = ("--weights", run, "--device", "cpu", "--precision", "fp32", "--json", "--top", 1)
    (row,) = json.loads(command("search", file, "--query", data / name, *words).out)
    assert (row["id"], row["similarity"]) == (name, pytest.approx(1, abs=1e-4))
    none = command("search", file, "--query", name, "--group", "split", "--json")
    assert {row["split"] for row in json.loads(none.out)} == {"test"}


def test_probe(command: Command, file: Path) -> None:
    result = command("probe", file, "--by", "person", "--folds", 4)
    lines = result.out.splitlines()
    assert lines[:2] == [
        "12 videos of 2 classes, 4 groups (person), 4 folds",
        "floor   most frequent class (left): top-1 0.500",
    ]
    for line, head in zip(lines[2:4], (r"knn     neighbours \d+", r"linear  l2 [\d.]+"), strict=True):
        assert re.fullmatch(rf"{head}: top-1 [\d.]+ \(95% interval [\d.]+ to [\d.]+\)", line)
    assert re.fullmatch(r"the features are (not shown to be )?above the floor: at best [+-][\d.]+", lines[4])
    found = json.loads(command("probe", file, "--json").out)
    assert (found["videos"], found["by"], found["folds"], found["floor"]) == (12, "video", 5, 0.5)
    assert f"top-1 {found['heads'][1]['top1']:.3f}" in command("probe", file).out


def test_what_is_refused(
    command: Command, run: Path, data: Path, file: Path, one_video_at_a_time: Path, tmp_path: Path
) -> None:
    video = data / "videos" / "test" / "left" / "0.mp4"
    text = tmp_path / "text.parquet"
    text.write_text("text")
    (tmp_path / "plain").mkdir()
    unlabelled = tmp_path / "plain" / "f.parquet"
    assert command("features", run, video, "--out", unlabelled, *WORDS).code == 0
    for words, message in (
        (("features", run, video, "--out", tmp_path / "f.h5"), "f.h5: expected *.parquet or a folder"),
        (("features", run, video, "--out", tmp_path / "none" / "f.parquet"), "no such folder"),
        (("features", run, video, "--out", file), "exists; name another file, or delete it"),
        (("features", run, video, "--out", tmp_path / "f.parquet", "--pool", "max"), "pool max: expected cls, mean"),
        (("features", run, video, "--out", tmp_path / "f.parquet", "--layer", 7), "layer 7: a model of 1 blocks"),
        (("features", run, video, "--out", tmp_path / "f.parquet", "--stride", 1), "stride is 1; it requires a window"),
        (("features", run, video, "--out", tmp_path / "f.parquet", "--window", 0), "window is 0; expected seconds"),
        (("features", run, video, "--out", tmp_path / "f.parquet", "--split", "test"), "is no data set; expected DATA"),
        (("features", run, data, "--out", tmp_path / "f.parquet", "--split", "val"), "has no val split"),
        (("features", run, tmp_path / "none.mp4", "--out", tmp_path / "f.parquet"), "none of 1 videos can be read"),
        (("features", tmp_path / "none", video, "--out", tmp_path / "g.parquet"), "none"),
        (("search", text, "--query", "a"), "no file of features"),
        (("search", tmp_path / "none.parquet", "--query", "a"), "no such file"),
        (("search", file, "--query", "a"), "has no id a; it has such as videos/train/left/0.mp4"),
        (("search", file, "--query", video), "a video as query requires --weights"),
        (("search", file, "--query", video, "--weights", one_video_at_a_time), "has features of the model"),
        (("search", file, "--query", tmp_path / "none.mp4", "--weights", run), "no such file"),
        (("search", file, "--query", video, "--weights", run, "--group", "person"), "expected --query ID"),
        (
            ("search", file, "--query", "videos/test/left/0.mp4", "--group", "who"),
            "has no column who; it has id, video",
        ),
        (("probe", file, "--by", "who"), "has no column who"),
        (("probe", file, "--by", "person", "--folds", 5), "has videos of 4 groups (person); expected at least 5"),
        (("probe", file, "--folds", 2), "folds is 2; expected at least 3"),
        (("probe", text), "no file of features"),
        (("probe", unlabelled), "has no labels; a probe needs features of a data set"),
    ):
        device = ("--device", "cpu") if words[0] == "features" else ()
        assert_one_line(command(*words, *device), message)


def test_no_space_left(
    command: Command, run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that are complete are kept, and a resumed job ends as if nothing had happened."""
    words = ("features", run, data, "--split", "test", *WORDS)
    for out in ("whole.parquet", "full.parquet"):
        if out == "full.parquet":
            monkeypatch.setattr("os.fsync", full)
        result = command(*words, "--out", tmp_path / out)
    assert_one_line(result, "No space left on device")
    assert not (tmp_path / "full.parquet").exists()
    monkeypatch.undo()
    assert command(*words, "--out", tmp_path / "full.parquet", "--resume").code == 0
    assert (tmp_path / "full.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def full(_: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("window", [(), ("--window", "0.4", "--stride", "0.1")])
def test_killed_and_resumed(run: Path, bars: Path, tmp_path: Path, window: tuple[str, ...]) -> None:
    """By SIGKILL while rows are written, three times; then the bytes of a job that was let alone."""
    (tmp_path / "videos").mkdir()
    for number in range(24):
        shutil.copy(bars / "test" / ("left", "right")[number % 2] / "0.mp4", tmp_path / "videos" / f"{number}.mp4")

    def start(out: str) -> Started:
        more = ("--device", "cpu", "--precision", "fp32", "--workers", 1, "--resume", *window)
        return Started("features", run, tmp_path / "videos", "--out", tmp_path / out, *more)

    def assert_completes(out: str) -> None:
        process = start(out)
        errors = process.communicate()[1]
        assert process.returncode == 0, errors

    assert_completes("whole.parquet")
    rows, part = pyarrow.parquet.read_table(tmp_path / "whole.parquet").num_rows, tmp_path / "killed.parquet.part"
    written = lambda: part.read_bytes().count(b"\n") if part.exists() else 0  # noqa: E731
    generator = random.Random(0)
    for _ in range(3):
        wanted = written() + generator.randrange(1, rows // 4)
        process = start("killed.parquet")
        while process.poll() is None and written() < wanted:
            time.sleep(0.005)
        process.kill()
        process.communicate()
    assert_completes("killed.parquet")
    assert (tmp_path / "killed.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
