"""Files of true segments, good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from timesformer.errors import DataError
from timesformer.evaluation.temporal import TrueSegment
from timesformer.evaluation.truth import read_truth

LABELS = ("wave", "idle", "caf\u00e9")


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "truth.csv"
    file.write_text(text, "utf-8")
    return file


def test_one_video(tmp_path: Path) -> None:
    file = written(tmp_path, "label,start,end,note\nwave,0.5,2,x\n\nidle,2,3,\ncafe\u0301,1,1.25,\n")
    truth = read_truth(file, ["a.mp4"], LABELS)
    assert truth.segments == (
        TrueSegment("a.mp4", 0.5, 2, "wave"),
        TrueSegment("a.mp4", 2, 3, "idle"),
        TrueSegment("a.mp4", 1, 1.25, "caf\u00e9"),
    )
    assert truth.lines == (2, 4, 5)
    assert [one.label for one in read_truth(file, ["a.mp4"], LABELS, ["idle"]).segments] == ["wave", "caf\u00e9"]


def test_several_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named as they are given, or relative to the file's folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "truth.csv"
    file.write_text("video,start,end,label\na.mp4,0,1,wave\nsub/b.mp4,1,2,wave\nc.mp4,0,1,unknown\n")
    truth = read_truth(file, ["sub/a.mp4", str(tmp_path / "sub" / "b.mp4"), "d.mp4"], LABELS)
    assert [one.video for one in truth.segments] == ["sub/a.mp4", str(tmp_path / "sub" / "b.mp4")]
    assert truth.others == 1


def test_a_segment_after_the_end(tmp_path: Path) -> None:
    truth = read_truth(written(tmp_path, "start,end,label\n0,1,wave\n9,12,wave\n"), ["a.mp4"], LABELS)
    truth.check_lengths({"a.mp4": 9.5})
    with pytest.raises(DataError) as raised:
        truth.check_lengths({"a.mp4": 9.0})
    assert str(raised.value) == f"{tmp_path / 'truth.csv'}, line 3: start 9; a.mp4 ends at 9.00 s"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": has no column start; expected start,end,label in its first line, found nothing"),
        ("0,1,wave\n", ": has no column start; expected start,end,label in its first line, found 0, 1, wave"),
        ("start,end\n0,1\n", ": has no column label; expected start,end,label in its first line, found start, end"),
        ("start,end,label\nzero,1,wave\n", ", line 2: start 'zero'; expected seconds"),
        ("start,end,label\n0,,wave\n", ", line 2: end ''; expected seconds"),
        ("start,end,label\n0,inf,wave\n", ", line 2: end 'inf'; expected seconds"),
        ("start,end,label\n0,1,wave\n2,2,wave\n", ", line 3: start 2, end 2; expected 0 <= start < end"),
        ("start,end,label\n-1,2,wave\n", ", line 2: start -1, end 2; expected 0 <= start < end"),
        ("start,end,label\n0,1,wav\n", ", line 2: label 'wav'; the weights have no such class"),
        ("start,end,label\n0,1,a,b\n", ", line 2: 4 fields, the header has 3; a field with a comma needs quotes"),
        (
            "start,end,label,video\n0,1,wave,b.mp4\n0,1,wave,c.mp4\n",
            ": all 2 rows are of other videos; expected a.mp4 in the column video",
        ),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(DataError) as raised:
        read_truth(file, ["a.mp4"], LABELS)
    assert str(raised.value) == f"{file}{message}"


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_truth(tmp_path / "none.csv", ["a.mp4"], LABELS)
    (tmp_path / "binary.csv").write_bytes(b"\0\1")
    with pytest.raises(DataError, match="not a text file"):
        read_truth(tmp_path / "binary.csv", ["a.mp4"], LABELS)
    one = written(tmp_path, "start,end,label\n0,1,wave\n")
    with pytest.raises(DataError, match="has no column video; expected one, as 2 videos are given"):
        read_truth(one, ["a.mp4", "b.mp4"], LABELS)


def test_a_video_without_actions(tmp_path: Path) -> None:
    """A header alone: all of it is of no class."""
    assert read_truth(written(tmp_path, "start,end,label\n"), ["a.mp4"], LABELS).segments == ()
