"""Class names in a text file."""

from __future__ import annotations

from pathlib import Path

import pytest

from timesformer.data.labels import read_labels
from timesformer.errors import DataError


@pytest.mark.parametrize(
    "content",
    [b"run\nhigh jump\n", b"run\nhigh jump", b"\xef\xbb\xbfrun\r\n high jump \r\n\r\n\n  \n"],
    ids=["lines", "no last line end", "Windows"],
)
def test_names_in_their_order(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    assert read_labels(file) == read_labels(str(file)) == ("run", "high jump")


def test_an_empty_file_has_no_names(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n\n")
    assert read_labels(tmp_path / "labels.txt") == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"run\n\njump\n", "line 2: empty; expected a class name in every line"),
        (b"run\njump\n run\n", "line 3: class run is already in line 1; expected each class once"),
        (b"bar\ncaf\xe9\n", "line 2: class caf\udce9 is not UTF-8; save the file as UTF-8"),
        (b"\xff\xfe", "not a text file in UTF-8; save it as one"),
        (None, "cannot be read: No such file"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "labels.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message) as raised:
        read_labels(file)
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)
