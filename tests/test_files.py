"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from timesformer.files import replacing


def test_what_is_written_takes_its_place_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("old")
    with replacing(file) as temporary:
        temporary.write_text("new")
        assert file.read_text() == "old"
    assert (file.read_text(), list(tmp_path.iterdir())) == ("new", [file])

    def pull_the_plug() -> None:
        with replacing(file) as half:
            half.write_text("half")
            raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="plug"):
        pull_the_plug()
    assert (file.read_text(), list(tmp_path.iterdir())) == ("new", [file])


def test_the_file_is_flushed_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        made.append(f"flush {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        made.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    (tmp_path / "run").mkdir()
    with replacing(tmp_path / "run" / "last.ckpt") as temporary:
        temporary.write_text("all of it")
    assert made == ["flush .last.ckpt.tmp", "rename", "flush run"]
