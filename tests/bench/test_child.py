"""What happens in a process of its own stays there: answers, errors and ends come back as such."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from timesformer.bench import child
from timesformer.bench.child import EndedError, run_apart
from timesformer.errors import SettingError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited on Linux alone")


def test_an_answer() -> None:
    assert run_apart("json:loads", {"s": '{"a": [1, 2.5]}'}) == {"a": [1, 2.5]}


def test_a_setting_that_is_refused() -> None:
    with pytest.raises(SettingError, match=r"^precision is 'int4': one of auto, fp32, bf16$"):
        run_apart("timesformer.bench.train:plain_step", {"size": "tiny", "precision": "int4"})


def test_too_slow() -> None:
    with pytest.raises(EndedError, match="not done within 1 s") as end:
        run_apart("signal:pause", {}, time_limit=1)
    assert end.value.status == "too slow"


def test_it_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "waits_for_a_file.py").write_text(
        """import pathlib, time
def wait(file):
    while not pathlib.Path(file).exists():
        time.sleep(0.01)
    return {"there": True}"""
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setattr(child, "WATCH", 0.05)
    file = tmp_path / "file"
    assert run_apart("waits_for_a_file:wait", {"file": str(file)}, watch=file.touch) == {"there": True}


@linux
def test_out_of_memory() -> None:
    with pytest.raises(EndedError, match="MemoryError") as end:
        run_apart("numpy:ones", {"shape": [4_000_000_000]}, memory_limit=1.0)
    assert end.value.status == "out of memory"


@pytest.mark.parametrize(("limit", "status"), [(None, "failed"), pytest.param(1.0, "out of memory", marks=linux)])
def test_ended_from_outside(limit: float | None, status: str) -> None:
    """Allocations that fail in C++ end a process with a signal, and without a limit that is no question of memory."""
    with pytest.raises(EndedError) as end:
        run_apart("os:abort", {}, memory_limit=limit)
    assert end.value.status == status


def test_a_failure_names_itself() -> None:
    with pytest.raises(EndedError, match="JSONDecodeError") as end:
        run_apart("json:loads", {"s": "{"})
    assert end.value.status == "failed"
