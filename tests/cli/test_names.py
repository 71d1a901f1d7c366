"""A data set and a run whose names are not UTF-8, from its list to the scores."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet
import pytest
from rich.console import Console

from commands import Command
from conftest import small_recipe
from timesformer.data.manifest import read_manifest
from timesformer.errors import SettingError
from timesformer.files import unescape
from timesformer.training.fit import fit


@pytest.fixture
def data(tmp_path: Path, bars: Path) -> Path:
    """A class, the videos of it, a damaged one and the folder of all, in Latin-1."""
    folder = tmp_path / os.fsdecode(b"donn\xe9es")
    for split in ("train", "test"):
        shutil.copytree(bars / split, folder / split)
        (folder / split / "left").rename(folder / split / os.fsdecode(b"gauch\xe9"))
        for number in range(2):
            video = folder / split / os.fsdecode(b"gauch\xe9") / f"{number}.mp4"
            video.rename(video.with_name(os.fsdecode(b"caf\xe9%d.mp4" % number)))
    bad = folder / "train" / "right" / os.fsdecode(b"d\xe9chir\xe9.mp4")
    bad.write_bytes(b"no video")
    return folder


def test_every_command_keeps_them(tmp_path: Path, data: Path, command: Command) -> None:
    run = tmp_path / "run"
    with (tmp_path / "terminal").open("w", encoding="utf-8") as terminal:
        fit(small_recipe("training.epochs=1", "data.max_bad_fraction=0.5"), data, run, console=Console(file=terminal))
    assert b"skipped" in (log := (run / "log.txt").read_bytes())
    assert b"donn\xe9es/train/right/d\xe9chir\xe9.mp4" in log
    assert r"d\udce9chir\udce9.mp4" in (tmp_path / "terminal").read_text()
    assert r"gauch\udce9" in (run / "model" / "README.md").read_text()
    labels = json.loads((run / "model" / "config.json").read_text())["labels"]
    assert labels == ["gauch\udce9", "right"]

    scores = tmp_path / "scores.parquet"
    result = command("test", run, "--data", data, "--out", scores)
    assert result.code == 0, result
    rows = pyarrow.parquet.read_table(scores).to_pylist()
    assert [unescape(row["path"]) for row in rows] == [str(path) for path, _ in read_manifest(data, "test").videos]
    assert {unescape(row["label"]) for row in rows} == set(labels)

    video = data / "test" / "gauch\udce9" / "caf\udce90.mp4"
    result = command("predict", run, video, data / "train" / "right" / "d\udce9chir\udce9.mp4")
    assert result.code == 2
    assert f"{video}\tgauch\udce9" in result.out
    assert r"d\udce9chir\udce9.mp4: cannot be opened" in result.err


def test_tensorboard_has_no_such_folder(tmp_path: Path, bars: Path) -> None:
    with pytest.raises(SettingError, match="sultat: not UTF-8, which TensorBoard cannot write to; name another"):
        fit(small_recipe(), bars, tmp_path / "r\udce9sultat")


def test_checks_keep_them(data: Path, command: Command) -> None:
    result = command("data", "check", data, "--workers", 1)
    assert result.code == 1
    assert "train/right/d\udce9chir\udce9.mp4: cannot be opened" in result.out
    assert (data / "quarantine.csv").read_bytes().startswith(b"path,reason\ntrain/right/d\xe9chir\xe9.mp4,")
    assert read_manifest(data, "train").quarantined == (data / "train" / "right" / "d\udce9chir\udce9.mp4",)
    result = command("data", "check", data, "--workers", 1, "--json")
    found = json.loads(result.out)
    assert found["unreadable"][0]["path"] == "train/right/d\udce9chir\udce9.mp4"
