"""How threads wait, and how many there are: set before torch is loaded, and never over what the user has set."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NoReturn

import pytest

from timesformer.cli.main import app

SAY = "print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
COMMAND = f"import os, sys; from timesformer.cli import main; main.app = lambda **_: {SAY}; main.main()"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, "8000 None False"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None False"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "None PASSIVE False"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None ACTIVE False"),
    ],
)
def test_how_threads_of_a_command_wait(own: dict[str, str], expected: str) -> None:
    assert said(COMMAND, own) == expected


def test_a_program_that_imports_the_package_keeps_its_environment() -> None:
    assert said(f"import os, sys, timesformer; timesformer.load; {SAY}") == "None None True"


def said(code: str, own: dict[str, str] | None = None) -> str:
    """What code prints where the environment says `own`, and nothing else, of how threads wait."""
    others = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=others | (own or {}), capture_output=True, text=True, check=True)
    return done.stdout.strip()


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
