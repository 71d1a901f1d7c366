"""The list of videos to skip: written whole, read strictly, counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from timesformer.data.manifest import read_manifest
from timesformer.data.quarantine import read_quarantine, write_quarantine
from timesformer.errors import DataError

LIST = "path,label\na.mp4,run\nclips/../b.mp4,jump\n/data/c.mp4,run\nd.mp4,swim\n"


def test_listed_videos_are_skipped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(LIST)
    (tmp_path / "quarantine.csv").write_text('path,reason,who\nb.mp4,cut,me\n/data/c.mp4,"holds no, frames"\nz.mp4,x\n')
    train = read_manifest(tmp_path, "train")
    assert [path.name for path, _ in train.videos] == ["a.mp4", "d.mp4"]
    assert train.quarantined == (tmp_path / "clips/../b.mp4", Path("/data/c.mp4"))
    assert train.labels == ("jump", "run", "swim")  # classes keep their numbers
    assert "2 videos, 2 quarantined, 3 classes" in repr(train)
    every = read_manifest(tmp_path, "train", quarantine=False)
    assert (len(every.videos), every.quarantined) == (4, ())


def test_data_given_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.csv").write_text(LIST)
    (tmp_path / "quarantine.csv").write_text(f"path,reason\n{tmp_path}/a.mp4,cut\nd.mp4,cut\n")
    monkeypatch.chdir(tmp_path)
    assert read_manifest(".", "train").quarantined == (Path("a.mp4"), Path("d.mp4"))


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    reasons = {tmp_path / "x" / "a, b.mp4": 'holds no "video"\nstream', Path("/elsewhere/c.mp4"): "cut"}
    file = tmp_path / "quarantine.csv"
    write_quarantine(tmp_path, file, reasons)
    assert file.read_text() == 'path,reason\n"x/a, b.mp4","holds no ""video"" stream"\n/elsewhere/c.mp4,cut\n'
    assert read_quarantine(tmp_path, file) == {
        tmp_path / "x" / "a, b.mp4": 'holds no "video" stream',
        Path("/elsewhere/c.mp4"): "cut",
    }
    write_quarantine(tmp_path, file, {})
    assert list(tmp_path.iterdir()) == []
    assert read_quarantine(tmp_path, file) == {}


def test_a_list_half_written_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "quarantine.csv"
    write_quarantine(tmp_path, file, {tmp_path / "a.mp4": "cut"})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"quarantine\.csv: cannot be written: No space left on device"):
        write_quarantine(tmp_path, file, {tmp_path / "b.mp4": "cut"})
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_text() == "path,reason\na.mp4,cut\n"


def test_a_list_elsewhere(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "train.csv").write_text(LIST)
    (data / "quarantine.csv").write_text("path,reason\nd.mp4,cut\n")
    file = tmp_path / "bad.csv"
    file.write_text("path,reason\na.mp4,cut\n")
    assert read_manifest(data, "train", quarantine=file).quarantined == (data / "a.mp4",)
    with pytest.raises(DataError, match=r"none\.csv: no such file; expected a list of videos to skip"):
        read_manifest(data, "train", quarantine=tmp_path / "none.csv")
