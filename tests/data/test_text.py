"""Text files in encodings that people have."""

from __future__ import annotations

from pathlib import Path

import pytest

from timesformer.data.text import text_lines
from timesformer.errors import DataError


def test_bytes_that_are_not_utf_8_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_bytes(b"\xef\xbb\xbfpath,label\r\n caf\xe9.mp4,\xe6\x97\xa5\r\n")
    assert text_lines(file) == ["path,label", "caf\udce9.mp4,日", ""]


@pytest.mark.parametrize("content", ["path,label\n".encode("utf-16"), "日".encode("utf-16"), b"GIF89a\0\0"])
def test_utf_16_and_what_is_no_text(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "train.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"train\.csv: not a text file in UTF-8; save it as one$"):
        text_lines(file)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        text_lines(tmp_path)
