"""Engines give the model's logits, whatever they rewrite; and say what they cannot do."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from classifiers import CASES, classifier, expected, some_clips
from timesformer.engine import choose as choose_module
from timesformer.engine.agreement import LIMITS, Agreement
from timesformer.engine.arithmetic import attend_apart, attend_fused
from timesformer.engine.engine import load_engine
from timesformer.engine.linear import PackedLinear, PlainLinear
from timesformer.engine.network import FusedTimeSformer
from timesformer.errors import EngineError, SettingError
from timesformer.weights.classifier import load_model

PARITY = Path(__file__).parents[1] / "data" / "parity"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("number", range(len(CASES)))
def test_engine_agrees(number: int, precision: Any) -> None:
    net = classifier(number, **CASES[number])
    engine = load_engine(net, "eager", precision, device="cpu")
    for shape in ((2, 3, 4, 32, 32), (1, 3, 6, 48, 32), (3, 3, 1, 32, 64)):
        clips = some_clips(*shape)
        logits, reference = engine(clips), expected(net, clips)
        assert logits.dtype == torch.float32
        assert logits.shape == (shape[0], 5)
        if precision == "fp32":
            torch.testing.assert_close(logits, reference, rtol=0, atol=1e-4)
        assert Agreement.between(logits, reference, precision).value <= LIMITS[precision]


@pytest.mark.parametrize("case", [0, 1, 2, 3, 5, 7])
def test_int8_agrees_on_other_clips_than_it_was_calibrated_on(case: int) -> None:
    net = classifier(**CASES[case])
    engine = load_engine(net, "eager", "int8", device="cpu", clips=some_clips(8, 3, 4, 32, 32))
    clips = some_clips(16, 3, 4, 32, 32)[8:]
    assert Agreement.between(engine(clips), expected(net, clips), "int8").value <= LIMITS["int8"]


@pytest.mark.parametrize("case", [0, 3, 5, 12])
def test_an_engine_keeps_nothing_of_the_model(case: int) -> None:
    net, clips = classifier(**CASES[case]), some_clips(2, 3, 4, 32, 32)
    network = FusedTimeSformer(net.model, net.preprocessing)
    engine = load_engine(net, precision="fp32", device="cpu")
    with torch.inference_mode():
        before = network(clips), engine(clips)
    with torch.no_grad():
        for parameter in net.model.parameters():
            parameter.zero_()
    with torch.inference_mode():
        assert torch.equal(network(clips), before[0])
        assert torch.equal(engine(clips), before[1])


def test_batches_suit_the_device() -> None:
    small = load_engine(classifier(), device="cpu")
    assert small.views == 1600 // 16
    assert load_engine(classifier(image_size=160, num_frames=32, depth=1), device="cpu").views == 1


def test_the_model_stays_as_it_is() -> None:
    net = classifier(order="parallel")
    net.model.train()
    before = {name: tensor.clone() for name, tensor in net.model.state_dict().items()}
    load_engine(net, device="cpu")
    assert net.model.training
    for name, tensor in net.model.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(("name", "case"), [("openvino", 3), ("openvino", 6), ("onnx", 5)])
def test_other_runtimes_agree(name: Any, case: int) -> None:
    net = classifier(**{"depth": 2, **CASES[case]})
    engine = load_engine(net, name, "fp32", device="cpu")
    for shape in ((3, 3, 4, 32, 32), (1, 3, 4, 32, 32)):
        clips = some_clips(*shape)
        torch.testing.assert_close(engine(clips), expected(net, clips), rtol=0, atol=1e-4)


def test_compiled_networks() -> None:
    """In a process of its own: torch.compile crashes in one where OpenVINO and training have run."""
    program = Path(__file__).with_name("compiled.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    done = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "checked\n"


def test_weights_of_a_folder(tmp_path: Path) -> None:
    net = classifier(seed=1)
    net.save_pretrained(tmp_path / "net")
    engine = load_engine(tmp_path / "net", device="cpu")
    assert engine.engine == "eager"
    assert engine.precision in ("fp32", "bf16")
    assert engine.precision in str(engine)
    # The weights were read again and again while the engine was made; it is the same.
    clips = some_clips(2, 3, 4, 32, 32)
    assert torch.equal(engine(clips), load_engine(net, device="cpu")(clips))


@pytest.mark.parametrize("file", ["official_divided_space_time.pyth", "mmaction2_joint_space_time.pth"])
def test_weights_of_others(file: str) -> None:
    net = load_model(PARITY / file)
    settings = net.model.settings
    clips = some_clips(2, 3, settings.num_frames, settings.image_size, settings.image_size)
    torch.testing.assert_close(
        load_engine(net, precision="fp32", device="cpu")(clips), expected(net, clips), rtol=0, atol=1e-4
    )


def test_attentions_are_one() -> None:
    q, k, v = torch.randn(3, 2, 3, 7, 8).unbind(0)
    torch.testing.assert_close(attend_apart(q, k, v), attend_fused(q, k, v))


def test_packed_linear_is_linear() -> None:
    weight, bias, x = torch.randn(24, 16), torch.randn(24), torch.randn(2, 5, 16)
    for activation in ("none", "gelu"):
        torch.testing.assert_close(PackedLinear(weight, bias, activation)(x), PlainLinear(weight, bias, activation)(x))


def test_a_missed_agreement_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: FusedTimeSformer, clips: Tensor) -> Tensor:
        return torch.arange(5.0).expand(len(clips), -1)

    monkeypatch.setattr(FusedTimeSformer, "forward", wrong)
    with pytest.raises(EngineError, match=r"fp32 misses its agreement: .* at most 0.0001 is allowed"):
        load_engine(classifier(), precision="fp32", device="cpu")


def test_auto_falls_back_on_fp32_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("native_bf16", "fast_bf16"):
        monkeypatch.setattr(choose_module, name, lambda device: True)
    monkeypatch.setitem(LIMITS, "bf16", 1e-9)
    engine = load_engine(classifier(), device="cpu")
    assert engine.precision == "fp32"
    assert "bf16 misses its agreement" in engine.reason


def test_what_the_machine_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_module, "native_bf16", lambda device: False)
    net = classifier()
    with pytest.raises(SettingError, match="no bf16 products of its own: precision fp32"):
        load_engine(net, precision="bf16", device="cpu")
    assert load_engine(net, device="cpu").precision == "fp32"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SettingError, match=r"needs a C\+\+ compiler"):
        load_engine(net, "compile", device="cpu")

    def lacking(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", lacking)
    for name, packages in (("openvino", "openvino"), ("onnx", "onnx onnxscript onnxruntime")):
        with pytest.raises(SettingError, match=f"is not installed; pip install {packages}$"):
            load_engine(net, name, device="cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "fast"}, "engine is 'fast': one of auto, eager"),
        ({"precision": "fp8"}, "precision is 'fp8': one of auto, fp32"),
        ({"precision": "fp16"}, "fp16 is not for engine eager, which has fp32, bf16, int8; fp16 is of files of"),
        ({"precision": "int8"}, "calibrated on videos"),
        ({"engine": "onnx", "precision": "bf16"}, "bf16 is not for engine onnx, which has fp32; bf16 is of"),
        ({"clips": torch.zeros(1, 3, 4, 32, 32)}, "takes uint8 RGB clips"),
        ({"clips": some_clips(1, 3, 4, 30, 32)}, "multiples of the patch size 16"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        load_engine(classifier(), device="cpu", **arguments)


def test_bad_clips() -> None:
    engine = load_engine(classifier(), device="cpu")
    for clips in (torch.zeros(1, 3, 4, 32, 32), some_clips(3, 4, 32, 32), some_clips(1, 3, 4, 32, 33)):
        with pytest.raises(SettingError):
            engine(clips)


def test_arrays_are_no_tensors() -> None:
    """A numpy array of the right shape and type is not said to be of a wrong type."""
    engine = load_engine(classifier(), device="cpu")
    array = some_clips(1, 3, 4, 32, 32).numpy()
    message = r"^clips: ndarray; expected a torch.Tensor \(batch, 3, frames, height, width\), which torch.from_numpy "
    for call in (engine, engine.features, lambda clips: load_engine(classifier(), device="cpu", clips=clips)):
        with pytest.raises(SettingError, match=message):
            call(array)  # type: ignore[operator]
    with pytest.raises(SettingError, match=r"^clips: list; expected a torch.Tensor"):
        engine([torch.from_numpy(array)])  # type: ignore[arg-type]
    assert engine(torch.from_numpy(array)).shape == (1, 5)
