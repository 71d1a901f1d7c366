"""`timesformer timeline --out` with segments, and `--truth`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from commands import Command, assert_one_line
from conftest import moving_bar
from timesformer.inference.segments import ScoredWindow, Segmenter, pieces
from timesformer.video.encode import write_video
from timesformer.video.source import open_video

WORDS = ("--window", "0.8", "--stride", "0.2", "--min-length", "0.4")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s to the right, then 3 s to the left."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    write_video(path, torch.cat((moving_bar(1, 0, 30), moving_bar(-1, 0, 30)), dim=1), 10)
    return path


def segments_of(command: Command, run: Path, video: Path, tmp_path: Path) -> tuple[float, list[dict[str, object]]]:
    """From the windows of a file of rows, by hand: a threshold that some moments reach, and the segments."""
    file = tmp_path / "rows.jsonl"
    assert command("timeline", run, video, *WORDS[:4], "--scores", "--out", file).code == 0
    rows = list(map(json.loads, file.read_text().splitlines()))
    windows = [ScoredWindow.of(row["start_s"], row["end_s"], row["scores"]) for row in rows]
    best = [float(part.scores_K.max()) for part in pieces(windows)]
    threshold = round((min(best) + max(best)) / 2, 4)
    segmenter = Segmenter(tuple(rows[0]["scores"]), min_length=0.4, threshold=threshold)
    found = [one.as_dict() for one in segmenter.segments(windows)]
    assert 0 < sum(one["end_s"] - one["start_s"] for one in found) < 6
    return threshold, found


def test_files_by_suffix(command: Command, run: Path, long: Path, tmp_path: Path) -> None:
    threshold, expected = segments_of(command, run, long, tmp_path)
    for suffix in (".json", ".vtt", ".srt", ".png", ".mp4"):
        result = command("timeline", run, long, *WORDS, "--threshold", threshold, "--out", tmp_path / f"a{suffix}")
        assert (result.code, result.out) == (0, ""), result
        assert f"segments in {tmp_path / f'a{suffix}'}" in result.err.splitlines()[-1]
        assert not (tmp_path / f"a{suffix}.part").exists()
    assert json.loads((tmp_path / "a.json").read_text()) == [{"video": str(long), "segments": expected}]
    assert (tmp_path / "a.vtt").read_text().count(" --> ") == len(expected)
    assert (tmp_path / "a.srt").read_text().count(" --> ") == len(expected)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with open_video(tmp_path / "a.mp4") as video:
        assert (video.num_frames, video.seconds(60)) == (60, pytest.approx(6, abs=0.01))


def test_several_videos(command: Command, run: Path, bars: Path, long: Path, tmp_path: Path) -> None:
    """In JSON, one that cannot be read too; other files are of one video."""
    (tmp_path / "empty.mp4").touch()
    videos = (long, tmp_path / "empty.mp4", bars / "test" / "left" / "0.mp4")
    result = command("timeline", run, *videos, *WORDS, "--out", tmp_path / "a.json")
    assert_one_line(result, "1 of 3 videos cannot be read")
    found = json.loads((tmp_path / "a.json").read_text())
    assert [row["video"] for row in found] == list(map(str, videos))
    assert found[1] == {"video": str(videos[1]), "segments": [], "problem": "the file is empty"}
    refused = command("timeline", run, *videos, "--out", tmp_path / "a.vtt")
    assert_one_line(refused, "a.vtt: of one video; 3 are given; run it for each of them, or use *.json")
    for name in ("b.mp4", "b.vtt", "b.srt", "b.png"):
        assert_one_line(command("timeline", run, videos[1], *WORDS, "--out", tmp_path / name), "the file is empty")
        assert not (tmp_path / name).exists()


def test_a_stopped_job_goes_on(command: Command, run: Path, long: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "a.vtt", tmp_path / "b.vtt"
    assert command("timeline", run, long, *WORDS, "--out", whole).code == 0
    assert command("timeline", run, long, *WORDS[:4], "--scores", "--out", tmp_path / "b.jsonl").code == 0
    lines = (tmp_path / "b.jsonl").read_text().splitlines(keepends=True)
    cut.with_suffix(".vtt.part").write_text("".join(lines[:7]) + lines[7][:20])
    about = json.loads(whole.with_suffix(".vtt.job").read_text())
    about["counts"] = dict.fromkeys(about["counts"]) | {"videos": 0, "windows": 0, "unreadable": 0, "video": ""}
    about["counts"]["ended"] = True
    cut.with_suffix(".vtt.job").write_text(json.dumps(about))
    assert command("timeline", run, long, *WORDS, "--out", cut, "--resume").code == 0
    assert cut.read_bytes() == whole.read_bytes()
    changed = command("timeline", run, long, *WORDS[:4], "--out", whole, "--resume")
    assert_one_line(changed, "min_length 0.4, not 0.0")


def test_truth(command: Command, run: Path, long: Path, tmp_path: Path) -> None:
    """The segments that are found are themselves the truth: all is right."""
    threshold, found = segments_of(command, run, long, tmp_path)
    file = tmp_path / "truth.csv"
    lines = [f"{one['start_s']},{one['end_s']},{one['label']}" for one in found]
    file.write_text("\n".join(("start,end,label", *lines)))
    words = ("timeline", run, long, *WORDS, "--threshold", threshold, "--truth", file)
    result = command(*words, "--out", tmp_path / "a.png")
    assert result.code == 0, result
    first, heads, numbers, frames = result.out.splitlines()
    assert first == f"{file}: {len(found)} ground-truth segments in 1 video"
    assert heads.split() == ["temporal", "IoU", "0.3", "0.4", "0.5", "0.6", "0.7", "mean"]
    assert numbers.split() == ["mean", "average", "precision", *["1.000"] * 6]
    assert frames.startswith("frame accuracy            1.000  (0.")
    assert max(map(len, result.out.splitlines()[1:])) <= 80
    as_json = command(*words, "--out", tmp_path / "a.csv", "--scores", "--json")
    assert json.loads(as_json.out)["mean_average_precision"] == dict.fromkeys(("0.3", "0.4", "0.5", "0.6", "0.7"), 1.0)
    # Nothing is found where all is background: half of the frames have a class.
    file.write_text("start,end,label\n0,3,right\n3,6,left\n")
    words = ("timeline", run, long, "--window", 0.8, "--truth", file, "--background", "left", "--json")
    none = json.loads(command(*words, "--threshold", 1, "--out", tmp_path / "b.json").out)
    assert (none["frame_accuracy"], none["most_frequent"]) == (0.5, 0.5)
    assert none["average_mean_average_precision"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--out", "a.txt"),
            "a.txt: expected *.jsonl, *.csv or *.parquet for windows, or *.json",
        ),
        (("--threshold", 0.5), "threshold, min-length and background are of segments; expected a file *.json"),
        (("--background", "left", "--out", "a.csv"), "are of segments; expected a file *.json"),
        (("--out", "a.json", "--threshold", 2), "threshold is 2.0; expected a score between 0 and 1"),
        (("--out", "a.json", "--min-length", -1), "min-length is -1.0; expected seconds, at least 0"),
        (("--out", "a.json", "--background", "idle"), "background is idle; expected one of the classes left, right"),
        (("--json",), "--json requires --truth FILE"),
        (("--truth", "t.csv"), "--truth requires --out FILE"),
        (("--truth", "t.csv", "--out", "a.csv"), "rows of all scores are needed for it"),
        (
            ("--truth", "t.csv", "--out", "a.json", "--start", 1),
            "it is of whole videos",
        ),
        (("--truth", "none.csv", "--out", "a.json"), "none.csv: cannot be read: No such file"),
        (("--truth", "late.csv", "--out", "a.json"), "late.csv, line 2: start 6; "),
        (("--truth", "class.csv", "--out", "a.json"), "class.csv, line 2: label 'up'; the weights have no such class"),
    ],
)
def test_what_is_refused(
    command: Command,
    run: Path,
    long: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[object, ...],
    message: str,
) -> None:
    """In one line, before anything is decoded or written."""
    monkeypatch.chdir(tmp_path)
    for name, row in (("t.csv", "0,1,left"), ("late.csv", "6,7,left"), ("class.csv", "0,1,up")):
        Path(name).write_text(f"start,end,label\n{row}\n")
    assert_one_line(command("timeline", run, long, "--window", 0.8, *words), message)
    assert not list(tmp_path.glob("a.*"))


def test_a_complete_file_has_no_truth_any_more(command: Command, run: Path, long: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("start,end,label\n0,1,left\n")
    words = ("timeline", run, long, *WORDS, "--out", tmp_path / "a.json", "--truth", tmp_path / "t.csv")
    assert command(*words).code == 0
    assert_one_line(command(*words, "--resume"), "a.json is complete: name another file")
