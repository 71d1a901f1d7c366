"""What the machine has: which processors compute in bfloat16, and which are faster so."""

from __future__ import annotations

import sys
from importlib import metadata
from types import ModuleType

import pytest
import torch

from timesformer import device
from timesformer.bench.train import pick_precision
from timesformer.engine.choose import choose

CPU = torch.device("cpu")
X86 = (
    "processor\t: 0\nvendor_id\t: {}\nmodel name\t: X: 1\nflags\t\t: fpu avx2 {}\n\n"
    "processor\t: 1\nvendor_id\t: other\nmodel name\t: Y\nflags\t\t: bf16\n"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\nCPU implementer\t: 0x41\n"


@pytest.mark.parametrize(
    ("cpuinfo", "native", "fast"),
    [
        (X86.format("GenuineIntel", "avx512_bf16 amx_bf16 amx_tile"), True, True),
        (X86.format("GenuineIntel", "avx512_bf16"), True, False),
        (X86.format("GenuineIntel", "avx512f"), False, False),
        (X86.format("AuthenticAMD", "avx512_bf16"), True, True),
        (X86.format("AuthenticAMD", "avx512f"), False, False),
        (ARM.format("bf16 i8mm"), True, True),
        (ARM.format("i8mm"), False, False),
        ("", False, False),
    ],
)
def test_bfloat16_of_processors(monkeypatch: pytest.MonkeyPatch, cpuinfo: str, native: bool, fast: bool) -> None:
    """`auto` takes what is faster; what there are instructions for can be asked for."""
    monkeypatch.setattr(device, "processor", lambda: device._parse(cpuinfo))
    assert device.processor().name == ("X: 1" if "model name" in cpuinfo else "")
    assert (device.native_bf16(), device.fast_bf16()) == (native, fast)
    assert (device.native_bf16(CPU), device.fast_bf16(CPU)) == (native, fast)
    assert not device.native_bf16(torch.device("meta"))
    assert not device.fast_bf16(torch.device("meta"))
    picked = choose("auto", "auto", CPU)
    assert picked.precision == pick_precision("auto", CPU) == ("bf16" if fast else "fp32")
    assert ("which has no AMX" in picked.reason) == (native and not fast)
    if native:
        assert choose("auto", "bf16", CPU).precision == pick_precision("bf16", CPU) == "bf16"
    assert choose("onnx", "auto", CPU).precision == "fp32"


def test_versions_of_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a package's name; under another name, such as onnxruntime-gpu's, or from a path, by what its module says."""
    assert device.version_of("numpy") == metadata.version("numpy")
    assert device.version_of("scikit-learn", "sklearn") == metadata.version("scikit-learn")
    assert device.version_of("no-such-package") == "not installed"
    nightly = ModuleType("nightly_of_something")
    monkeypatch.setitem(sys.modules, nightly.__name__, nightly)
    assert device.version_of("something", nightly.__name__) == "unknown"
    nightly.__version__ = "1.2.dev3"  # type: ignore[attr-defined]
    assert device.version_of("something", nightly.__name__) == "1.2.dev3"
