"""The benchmark scripts that need hours or a GPU, on a network and clips that need neither."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmarks/gpu.py, with small clips and one engine."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("gpu")
    monkeypatch.setattr(module, "MODELS", {"base": module.Shape(2, 32, 3, 2)})
    monkeypatch.setattr(module, "ENGINES", [("eager", "fp32")])
    return module


@pytest.mark.filterwarnings("ignore")
def test_throughput_of_a_card(gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried on the CPU: what runs, and that shares and ratios follow from the times."""
    out = tmp_path / "gpu.json"
    arguments = "--device cpu --size tiny --models base --rounds 1 --steps 2 --out"
    monkeypatch.setattr(sys, "argv", ["gpu.py", *arguments.split(), str(out)])
    gpu.main()
    found = json.loads(out.read_text())
    rows = {(row["what"], row["name"]): row for row in found["rows"]}
    assert set(rows) == {
        ("inference", gpu.PEER),
        ("inference", "transformers, bf16"),
        ("inference", "ours, eager, fp32"),
        ("training", gpu.PEER),
        ("training", "transformers, bf16"),
        ("training", "ours, bf16"),
        ("training", "ours, bf16, cheap"),
    }
    model = gpu.TimeSformer(size="tiny", num_frames=2, image_size=32)
    flops = 2 * gpu.count_cost(model.settings).macs
    for (what, _), row in rows.items():
        assert row["clips"] == (3 if what == "inference" else 2)
        share = row["clips_a_second"] * flops * (1 if what == "inference" else 3) / found["peak_tflops"] / 1e12
        assert row["of_peak"] == pytest.approx(share)
        peer = rows[what, gpu.PEER]
        assert row["faster"] == pytest.approx(row["clips_a_second"] / peer["clips_a_second"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_card_is_said_in_one_line() -> None:
    done = subprocess.run([sys.executable, BENCHMARKS / "gpu.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("no CUDA device on this machine: nothing is measured")
    assert not done.stdout
