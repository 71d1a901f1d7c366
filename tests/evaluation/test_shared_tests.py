"""Processes of torchrun find what one process finds."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch.distributed as dist

from commands import Command
from started import in_processes
from timesformer.data.loader import ALONE, Process
from timesformer.evaluation.processes import TORCHRUN, find_process, joined


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)


def test_torchruns_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_process() == ALONE
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "3"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert find_process() == ALONE  # of another launcher
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert find_process() == Process(1, 3)


def test_processes_wait_for_the_slowest(monkeypatch: pytest.MonkeyPatch) -> None:
    """They meet once, at the end; after the 30 minutes that gloo waits by default the fast ones would give up."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **values: given.update(values))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with joined(Process(0, 2)):
        assert given == {"timeout": timedelta(days=7)}


def together(processes: int, *words: object) -> list[tuple[int | None, str, str]]:
    """Exit code, standard output and standard error of each process of `timesformer ...`."""
    with in_processes(processes, *words) as started:
        found = [process.communicate() for process in started]
    return [(process.returncode, *texts) for process, texts in zip(started, found, strict=True)]


def test_three_processes_find_what_one_finds(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    """Five videos that can be read and two that cannot: parts of unequal length, each video once."""
    data = tmp_path / "data"
    shutil.copytree(bars / "test", data / "test")
    shutil.copy(bars / "val" / "left" / "0.mp4", data / "test" / "left" / "more.mp4")
    bad = [data / "test" / "left" / "bad.mp4", data / "test" / "right" / "bad.mp4"]
    for path in bad:
        path.write_text("not a video")
    words = ["test", run, "--data", data, "--device", "cpu", "--precision", "fp32", "--max-bad-fraction", 0.5]
    words += ["--workers", 0, "--json", "--out"]
    alone = command(*words, tmp_path / "alone.parquet")
    (code, out, err), *others = together(3, *words, tmp_path / "together.parquet")
    assert (code, [(code, out) for code, out, _ in others]) == (0, [(0, "")] * 2), (err, others)
    assert json.loads(out) == json.loads(alone.out)
    assert json.loads(out)["videos"] == 5
    one, three = (
        pyarrow.parquet.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in ("alone", "together")
    )
    assert [row["path"] for row in three] == [row["path"] for row in one]
    for row, expected in zip(three, one, strict=True):
        assert row["scores"] == pytest.approx(expected["scores"], abs=1e-6)
    for path in bad:
        assert err.count(f"skipped: {path}: ") == alone.err.count(f"skipped: {path}: ") == 1
    assert [text for _, _, text in others if "skipped" in text or "engine" in text] == []


def test_too_many_bad_videos_of_all_processes(run: Path, bars: Path, tmp_path: Path) -> None:
    """One in each part, which alone would be few enough."""
    shutil.copytree(bars / "test", tmp_path / "test")
    for number in range(2):
        (tmp_path / "test" / "left" / f"{number}.mp4").write_text("not a video")
    words = ["test", run, "--data", tmp_path, "--device", "cpu", "--workers", 0, "--max-bad-fraction", 0.3]
    for code, out, err in together(2, *words):
        assert (code, out) == (2, ""), err
        (line,) = [line for line in err.splitlines() if line.startswith("timesformer: ")]
        assert "2 of 4 videos cannot be read, more than the fraction 0.3" in line
