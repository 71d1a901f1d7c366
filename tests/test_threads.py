"""How threads wait, and how many there are: set before torch is loaded, and never over what the user has set."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NoReturn

import pytest

from timesformer.cli.main import app

CODE = "import os, timesformer; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, "8000 None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "None PASSIVE"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None ACTIVE"),
    ],
)
def test_how_threads_wait(own: dict[str, str], expected: str) -> None:
    others = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", CODE], env=others | own, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected


@pytest.mark.parametrize("verb", ["demo", "train", "test", "predict"])
def test_threads_of_a_command(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    def end(count: int) -> NoReturn:
        raise SystemExit(100 + count)

    monkeypatch.setattr(f"timesformer.cli.{verb}.use_threads", end)
    words = {
        "demo": [],
        "train": ["--data", "d", "--recipe", "demo"],
        "test": ["w", "--data", "d"],
        "predict": ["w", "v"],
    }
    with pytest.raises(SystemExit) as ended:
        app([verb, *words[verb], "--threads", "3"])
    assert ended.value.code == 103


def test_so_many_threads_compute() -> None:
    code = "import torch; from timesformer.threads import use_threads; use_threads(3); print(torch.get_num_threads())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "3"
