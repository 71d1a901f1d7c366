"""A folder of arrays: a video's rows in the order of time, and where in the video each is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_tables import origin, some_rows
from timesformer.errors import DataError, SettingError
from timesformer.features.arrays import array_names, write_arrays


def windows(video: str, count: int, **values: Any) -> list[dict[str, Any]]:
    """Of two seconds, one a second, 25 frames a second; the last one is off the grid."""
    facts: dict[str, Any] = {"video": video, "fps": 25.0, "frames": 90, "seconds": 3.6}
    rows = [
        {**row, **facts, "start_s": float(number), "padded": False, "window": number, **values}
        for number, row in enumerate(some_rows(count))
    ]
    rows[-1]["last"] = True
    return rows


def test_windows(tmp_path: Path) -> None:
    rows = [*windows("a/b.mp4", 4, label="run"), {"video": "c.mp4", "label": "sit", "problem": "the file is empty"}]
    write_arrays(rows, origin(window=2.0, stride=1.0), ["label"], tmp_path / "out")
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")) == [
        "a/b.json",
        "a/b.npy",
        "c.json",
    ]
    array = np.load(tmp_path / "out" / "a" / "b.npy")
    assert array.dtype == np.float16
    assert np.array_equal(array, np.stack([row["vector"] for row in rows[:3]]))
    facts = json.loads((tmp_path / "out" / "a" / "b.json").read_text())
    expected = {"video": "a/b.mp4", "label": "run", "feat_stride": 25.0, "num_frames": 50.0, "fps": 25.0}
    expected |= {"duration": 3.6, "frames": 90, "model": "1234", "pool": "cls", "layer": -1, "window": 2.0}
    assert {name: facts[name] for name in expected} == expected
    assert json.loads((tmp_path / "out" / "c.json").read_text())["problem"] == "the file is empty"


def test_a_window_without_frames(tmp_path: Path) -> None:
    """A row after it would stand for the frames of another one."""
    rows = windows("a.mp4", 5)
    del rows[1]
    with pytest.raises(DataError, match=r"^a\.mp4: no frame appears in window 1 .*; write a \*\.parquet$"):
        write_arrays(rows, origin(window=2.0, stride=1.0), [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_whole_videos(tmp_path: Path) -> None:
    """One row, of all frames; a leftover of a process that was killed here is gone."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "half.npy").touch()
    rows = [{**row, "fps": 10.0, "frames": 15, "seconds": 1.5} for row in some_rows(2)]
    write_arrays(rows, origin(shape=(4, 2)), [], tmp_path / "out")
    assert np.load(tmp_path / "out" / "1.npy").shape == (1, 4, 2)
    facts = json.loads((tmp_path / "out" / "1.json").read_text())
    assert (facts["feat_stride"], facts["num_frames"], facts["fps"]) == (15, 15, 10.0)
    assert not (tmp_path / "out" / "half.npy").exists()


def test_names() -> None:
    found = array_names(["a/b.mp4", "a/b/c.avi", "/data/d.mp4", "https://host/e.f.mp4?x=1/g", "../h.mp4"])
    assert [str(path) for path in found.values()] == ["a/b", "a/b/c", "d", "g", "h"]
    with pytest.raises(SettingError, match=r"a\.mp4 and x/\.\./a\.avi: both would be a\.npy; rename one, or write a"):
        array_names(["a.mp4", "b.mp4", "x/../a.avi"])
