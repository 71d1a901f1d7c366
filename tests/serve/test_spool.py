"""The folder of uploads: whose it is, and what is removed."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from timesformer.serve.uploads import PREFIX, Spool


def test_a_folder_that_another_service_removes_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a new folder for one that was left, before this service has locked it."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lock, removed = fcntl.flock, list[Path]()

    def late(descriptor: int, how: int) -> None:
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].rmdir()
        lock(descriptor, how)

    monkeypatch.setattr("fcntl.flock", late)
    spool = Spool()
    assert removed
    assert [spool.folder] == list(tmp_path.iterdir())
    spool.close()


def test_what_a_killed_service_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / f"{PREFIX}left"
    left.mkdir()
    (left / "video").write_bytes(b"x")
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path)
    (tmp_path / "other").mkdir()
    running = Spool()
    other = Spool()  # it leaves that of the one that runs
    assert {entry.name for entry in tmp_path.iterdir()} == {
        f"{PREFIX}link",
        "other",
        running.folder.name,
        other.folder.name,
    }
    running.close()
    other.close()
    assert {entry.name for entry in tmp_path.iterdir()} == {f"{PREFIX}link", "other"}
