"""What `import timesformer` offers, and how fast the command answers."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import timesformer

COMMAND = Path(sys.executable).parent / "timesformer"


def test_public_names_exist_and_are_described() -> None:
    for name in timesformer.__all__:
        value = getattr(timesformer, name)
        assert name == "__version__" or value.__doc__, name
    assert sorted(timesformer.__all__) == timesformer.__all__
    assert set(dir(timesformer)) == set(timesformer.__all__)


def test_import_is_light() -> None:
    code = (
        "import sys, timesformer, timesformer.cli.main; print([m for m in ('torch', 'av', 'rich') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_within_half_a_second() -> None:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - began)
    assert "predict" in done.stdout
    assert min(times) < 0.5
