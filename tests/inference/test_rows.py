"""The same rows as CSV and Parquet."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pyarrow.parquet
import pytest

from timesformer.files import unescape
from timesformer.inference import rows as rows_module
from timesformer.inference.rows import Row, Tally, as_line, read_lines, write_csv, write_parquet

SEEN = {"seconds": 1200.0, "frames": 36000, "seen_seconds": 8.533, "seen_frames": 8}
ROWS: list[Row] = [
    {
        "video": 'a, "b"\nc.mp4',
        "predictions": [{"label": "left", "score": 0.75}, {"label": "h\udce9, right", "score": 0.25}],
        **SEEN,
    },
    {"video": "caf\udce9.mp4", "predictions": [], "problem": "the file is empty"},
    {"video": "frames", "predictions": [{"label": "left", "score": 0.5}], "seconds": None, "frames": 6}
    | {"seen_seconds": None, "seen_frames": 4},
]


def test_lines() -> None:
    lines = list(map(as_line, ROWS))
    assert list(read_lines(lines)) == ROWS
    assert all(line.endswith(b"\n") and b"\n" not in line[:-1] for line in lines)
    b"".join(lines).decode()  # valid, whatever the names


def test_csv(tmp_path: Path) -> None:
    write_csv(ROWS, 2, tmp_path / "a.csv")
    assert "caf\udce9.mp4".encode(errors="surrogateescape") in (tmp_path / "a.csv").read_bytes()
    with (tmp_path / "a.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
        header, *found = csv.reader(stream)
    facts = ["problem", "seconds", "frames", "seen_seconds", "seen_frames"]
    assert header == ["video", "label_1", "score_1", "label_2", "score_2", *facts]
    assert found == [
        ['a, "b"\nc.mp4', "left", "0.75", "h\udce9, right", "0.25", "", "1200.0", "36000", "8.533", "8"],
        ["caf\udce9.mp4", "", "", "", "", "the file is empty", "", "", "", ""],
        ["frames", "left", "0.5", "", "", "", "", "6", "", "4"],
    ]


@pytest.mark.parametrize("group", [1, 2, 100])
def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int) -> None:
    monkeypatch.setattr(rows_module, "ROW_GROUP", group)
    write_parquet(iter(ROWS), tmp_path / "a.parquet")
    found = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [os.fsencode(unescape(row["video"])) for row in found] == [os.fsencode(row["video"]) for row in ROWS]
    for row, expected in zip(found, ROWS, strict=True):
        labels = [{**one, "label": unescape(one["label"])} for one in row["predictions"]]
        nothing = dict.fromkeys(("problem", "seconds", "frames", "seen_seconds", "seen_frames"))
        assert {**row, "video": expected["video"], "predictions": labels} == {**nothing, **expected}


def test_no_rows_at_all(tmp_path: Path) -> None:
    """Of a shard that got none."""
    write_csv([], 1, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "video,label_1,score_1,problem,seconds,frames,seen_seconds,seen_frames\n"
    write_parquet([], tmp_path / "a.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "a.parquet").num_rows == 0


def test_a_tally() -> None:
    tally = Tally()
    for row in (ROWS[1], *ROWS, ROWS[0]):
        tally.add(row)
    assert (tally.videos, tally.unreadable, tally.sparse) == (5, 2, 2)
    assert tally.example == f"{ROWS[0]['video']}: 8 of 36000 frames, in 8.5 of 1200.0 s"
