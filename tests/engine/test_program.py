"""Programs in .pt2 files: what is refused before torch sees it."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from timesformer.engine.graphs import Open, trace
from timesformer.engine.program import program_function, read_program
from timesformer.errors import WeightsError
from timesformer.weights.exports import exported_format


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.linear(clips.float().flatten(1)[:, :2]).softmax(1),)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("programs") / "good.pt2"
    torch.export.save(trace(Small(), Open().example(2, 2), Open()), file)
    return file


class Evil:
    """Leaves a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def changed(good: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """The file with its entries changed, as torch's reader takes it."""
    file = tmp_path / "changed.pt2"
    with zipfile.ZipFile(good) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"changed/{name}", content)
    return file


def in_model(before: str, after: str) -> Callable[[dict[str, bytes]], None]:
    def change(entries: dict[str, bytes]) -> None:
        text = entries["models/model.json"].decode()
        assert before in text
        entries["models/model.json"] = text.replace(before, after).encode()

    return change


def test_a_good_file_stays_one(good: Path, tmp_path: Path) -> None:
    clips = torch.randint(0, 256, (3, 3, 2, 2, 2), dtype=torch.uint8)
    results = []
    for file in (good, changed(good, tmp_path, lambda entries: None)):
        assert exported_format(file) == "torch"
        program, says = read_program(file)
        assert says is None
        (scores,) = program_function(program, torch.device("cpu"))(clips)
        results.append(scores)
    assert torch.equal(*results)
    assert results[0].shape == (3, 3)


CODE = "__import__('os').system('true')"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (in_model("torch.ops.aten.softmax.int", "torch.os.system"), "torch.os.system"),
        (in_model("torch.ops.aten.softmax.int", "torch.ops.aten.save.default"), "torch.ops.aten.save.default"),
        (in_model("torch.ops.aten.softmax.int", "math.__loader__.load_module"), "load_module"),
        (in_model("Symbol('s", f"{CODE} or Symbol('s"), "__import__"),
        (in_model('"name": "softmax"', f'"name": "softmax; {CODE}"'), "__import__"),
        (in_model("linear.weight", f"linear.weight + {CODE}"), "__import__"),
        (in_model('\\"builtins.dict\\"', '\\"enum\\"'), "builtins.tuple"),
        (lambda entries: entries.update({"data/aotinductor/model/run.so": b"x"}), "run.so"),
        (lambda entries: entries.update({"data/weights/model.pt": b"x"}), "model.pt"),
        (lambda entries: entries.update({"models/other.json": b"{}"}), "other.json"),
    ],
)
def test_code_in_a_program(good: Path, tmp_path: Path, change: Any, named: str) -> None:
    with pytest.raises(WeightsError, match="refused: it holds more than the operations and tensors") as refused:
        read_program(changed(good, tmp_path, change))
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_pickles_in_a_program(good: Path, tmp_path: Path) -> None:
    mark = tmp_path / "was run"
    content = pickle.dumps(Evil(mark))

    def as_inputs(entries: dict[str, bytes]) -> None:
        entries["data/sample_inputs/model.pt"] = content

    def as_weights(entries: dict[str, bytes]) -> None:
        config = json.loads(entries["data/weights/model_weights_config.json"])
        for entry in config["config"].values():
            entry["use_pickle"] = True
            entries[f"data/weights/{entry['path_name']}"] = content
        entries["data/weights/model_weights_config.json"] = json.dumps(config).encode()

    def as_constant(entries: dict[str, bytes]) -> None:
        config = {"config": {"x": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}}}
        entries["data/constants/model_constants_config.json"] = json.dumps(config).encode()
        entries["data/constants/opaque_obj_0"] = content

    for change in (as_inputs, as_weights, as_constant):
        with pytest.raises(WeightsError, match="refused"):
            read_program(changed(good, tmp_path, change))
    assert not mark.exists()


def test_damaged_files(good: Path, tmp_path: Path) -> None:
    file = tmp_path / "cut.pt2"
    file.write_bytes(good.read_bytes()[:-200])
    with pytest.raises(WeightsError, match=r"not a program of torch\.export that can be read"):
        read_program(file)
    with pytest.raises(WeightsError, match=r"not a program of torch\.export that can be read"):
        read_program(changed(good, tmp_path, lambda entries: entries.update({"models/model.json": b"{}"})))
