"""One video or many, as a list."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

import timesformer
from timesformer.inference.sources import find_sources, list_sources
from timesformer.video.source import MemoryFile


def test_one_or_many() -> None:
    array = np.zeros((2, 4, 4, 3), np.uint8)
    for one in ("a.mp4", Path("a.mp4"), b"bytes", io.BytesIO(b"bytes"), array):
        (found,) = list_sources(one)
        assert found is one
    assert list_sources(["a.mp4", Path("b.mp4")]) == ["a.mp4", Path("b.mp4")]
    assert list_sources(Path(name) for name in "ab") == [Path("a"), Path("b")]
    assert list_sources(()) == []
    with pytest.raises(timesformer.SettingError, match="videos: NoneType; expected a list of videos, or one video"):
        list_sources(None)  # type: ignore[arg-type]


def test_a_folder_stands_for_its_videos(bars: Path, tmp_path: Path) -> None:
    left = bars / "test" / "left"
    url = "http://example.org/a.mp4"
    found = find_sources([tmp_path / "none.mp4", left, str(left / "1.mp4"), url, b"bytes"])
    assert found == [tmp_path / "none.mp4", left / "0.mp4", left / "1.mp4", str(left / "1.mp4"), url, b"bytes"]
    assert find_sources(left) == [left / "0.mp4", left / "1.mp4"]
    with pytest.raises(timesformer.VideoError, match="holds no videos or image frames"):
        find_sources([left, tmp_path])


def test_standard_input_can_be_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"bytes")))
    (found,) = find_sources(["-"])
    assert isinstance(found, MemoryFile)
    assert (found.name, found.getvalue()) == ("<stdin>", b"bytes")
