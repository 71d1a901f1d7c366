"""Videos whose names begin with a dash, as YouTube's may."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from commands import Command

NAME = "-3B3x.mp4"


@pytest.fixture
def folder(tmp_path: Path, bars: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(bars / "test" / "left" / "0.mp4", tmp_path / NAME)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_after_two_dashes_they_are_videos(folder: Path, run: Path, command: Command) -> None:
    result = command("predict", run, "--json", "--", NAME)
    assert result.code == 0, result
    assert [row["video"] for row in json.loads(result.out)] == [NAME]


def test_without_them_the_error_says_so(folder: Path, command: Command) -> None:
    result = command("predict", "weights", NAME)
    assert result.code == 2
    assert result.err.splitlines()[0] == "timesformer: No such option: -3; `timesformer predict -h` says what it takes"
    assert result.err.endswith(
        "\ntimesformer: -3B3x.mp4: taken for an option; write -- before names that begin with -, or ./-3B3x.mp4\n"
    )
    assert "taken for an option" not in command("predict", "weights", "-x").err


def test_in_folders_and_lists(folder: Path, run: Path, command: Command) -> None:
    (folder / "test.csv").write_text(f"path,label\n{NAME},left\n")
    assert "videos                 1, skipped 0" in command("test", run, "--data", ".").out
    assert command("predict", run, ".").out.startswith("video\tlabel\tscore\tproblem\n-3B3x.mp4\t")
