"""One video or many, as a list."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import timesformer
from timesformer.inference.sources import find_sources, in_shard, list_sources, read_list
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
    with subprocess.Popen(["echo", "more"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        (found,) = find_sources([f"/dev/fd/{process.stdout.fileno()}"])
    assert isinstance(found, MemoryFile)
    assert found.getvalue() == b"more\n"


def test_what_cannot_be_read_is_found_when_it_is_read(bars: Path) -> None:
    video = bars / "test" / "left" / "0.mp4"
    names = ["/dev/fd/987", "https://[cdn]/a.mp4", "a" * 300, video]
    assert find_sources(names) == names


def test_a_list_gives_every_line_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"\xef\xbb\xbfa.mp4\r\n\n./b//c.mp4\n  \n a name \n-\nhttp://example.org/a.mp4\ncaf\xe9.mp4\na.mp4"
    lines = ["a.mp4", "./b//c.mp4", " a name ", Path("-"), "http://example.org/a.mp4", "caf\udce9.mp4", "a.mp4"]
    (tmp_path / "list").write_bytes(content)
    assert read_list(str(tmp_path / "list")) == lines
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_list("-") == lines


def test_what_is_no_list(tmp_path: Path) -> None:
    file = tmp_path / "list"
    for content, message in (
        (b"", "is empty; expected one path or URL a line"),
        (b"\n \n", "is empty"),
        ("a.mp4".encode("utf-16"), "not a text file in UTF-8"),
    ):
        file.write_bytes(content)
        with pytest.raises(timesformer.DataError, match=message) as raised:
            read_list(str(file))
        assert str(raised.value).startswith(f"{file}: ")
    for name in (tmp_path, tmp_path / "none"):
        with pytest.raises(timesformer.DataError, match=r"cannot be read: (Is a directory|No such file)"):
            read_list(str(name))


def test_shards_part_the_paths_by_their_sha256() -> None:
    names = [f"videos/{number}.mp4" for number in range(200)] + ["caf\udce9.mp4"]
    parts = [list(filter(in_shard(f"{number}/3"), names)) for number in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    for number, part in enumerate(parts):
        assert 40 < len(part) < 95
        assert all(int(hashlib.sha256(os.fsencode(name)).hexdigest(), 16) % 3 == number for name in part)
    assert all(map(in_shard("1/1"), names))
    for shard in ("0/4", "5/4", "1/0", "1", "a/b", "-1/4", "1/4/2", ""):
        with pytest.raises(timesformer.SettingError, match=f"^shard {shard}: expected I/N with I from 1 to N"):
            in_shard(shard)
