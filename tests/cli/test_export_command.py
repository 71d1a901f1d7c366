"""`timesformer export`, and what every command does with the files."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

import timesformer
from commands import Command, assert_one_line
from conftest import small_recipe
from timesformer.errors import EngineError, SettingError, WeightsError
from timesformer.export import export as export_module
from timesformer.export.check import Limit
from timesformer.features.table import read_feature_table
from timesformer.weights.ensemble import save_ensemble

ROOT = Path(__file__).parents[2]
TAKEN = (
    r"an exported file \(\w+\), which predict, test, timeline, features, search, serve and explain --method occlusion "
    "take; name the weights that it was exported from"
)
NAMES = {"onnx": "net.onnx", "openvino": "net.xml", "torch": "net.pt2"}


@pytest.fixture(scope="module")
def files(run: Path, bars: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same run in each format."""
    folder = tmp_path_factory.mktemp("exported")
    for form, name in NAMES.items():
        dynamic = ("batch",) if form == "onnx" else ()
        timesformer.export_model(run, folder / name, form, check=bars, dynamic=dynamic)
    return {form: folder / name for form, name in NAMES.items()}


def test_the_manifest_says_what_was_written(files: dict[str, Path], bars: Path) -> None:
    for form, file in files.items():
        manifest = json.loads(file.with_name(f"{file.name}.json").read_text("utf-8"))
        assert manifest["labels"] == ["left", "right"]
        assert manifest["exported"]["format"] == form
        assert manifest["exported"]["input"]["shape"] == [1 if form == "torch" else "batch", 3, 4, 16, 16]
        assert manifest["exported"]["versions"]["torch"] == torch.__version__
        assert manifest["check"]["on"] == f"the middle view of each video of {bars}"
        assert (manifest["check"]["clips"], manifest["check"]["judged"]) == (16, 16)
        others = manifest["check"]["other_shapes"]
        if form == "torch":
            assert others is None
        else:
            assert others["on"] == "synthetic clips: 2 x 3 x 4 x 16 x 16"
            assert (others["clips"], others["judged"], others["top1_agreement"]) == (2, 2, 1)
            assert others["largest_score_difference"] <= 1e-4
        assert manifest["check"]["largest_score_difference"] <= 1e-4
        assert manifest["check"]["top1_agreement"] == 1
        assert set(manifest["files"]) == {file.name, *(["net.bin"] if form == "openvino" else [])}
        assert all((file.parent / name).stat().st_size == one["bytes"] for name, one in manifest["files"].items())
    assert not list(files["onnx"].parent.glob(".*"))  # nothing temporary is left


@pytest.mark.parametrize("form", NAMES)
def test_commands_give_the_answers_of_the_weights(
    form: str, files: dict[str, Path], run: Path, bars: Path, tmp_path: Path, command: Command
) -> None:
    file, video = files[form], bars / "test" / "left" / "0.mp4"
    expected = timesformer.evaluate(run, bars, precision="fp32", device="cpu", workers=0)
    found = timesformer.evaluate(file, bars, workers=0)
    torch.testing.assert_close(found.scores_BK, expected.scores_BK, rtol=0, atol=1e-5)
    assert found.metrics == expected.metrics
    plain = timesformer.load(run, "cpu", precision="fp32")
    answers = command("predict", file, video, "--json")
    assert answers.code == 0, answers.err
    assert f"exported as {file.name}" in answers.err
    (row,) = json.loads(answers.out)
    wanted = plain.predict(video)
    assert [prediction["label"] for prediction in row["predictions"]] == [prediction.label for prediction in wanted]
    for prediction, one in zip(row["predictions"], wanted, strict=True):
        assert prediction["score"] == pytest.approx(one.score, abs=1e-5)
    windows = list(timesformer.load(file).timeline(video, window=0.5))
    for mine, theirs in zip(windows, plain.timeline(video, window=0.5), strict=True):
        assert (mine.label, mine.start) == (theirs.label, theirs.start)
        assert mine.score == pytest.approx(theirs.score, abs=1e-5)
    done = command("features", file, video, "--out", tmp_path / "features.parquet", "--dtype", "float32")
    assert done.code == 0, done.err
    vector = read_feature_table(tmp_path / "features.parquet").vectors_ND[0]
    views = plain.preprocess(video)
    torch.testing.assert_close(vector, plain.engine.features(views).mean(0), rtol=0, atol=1e-4)


def run_example(file: Path, video: Path) -> subprocess.CompletedProcess[str]:
    """By onnxruntime, av and numpy alone: without the package on its path."""
    example = ROOT / "examples" / "run_exported.py"
    blocked = "import sys; sys.modules.update(dict.fromkeys(('torch', 'timesformer'))); import runpy; "
    program = f"{blocked}sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
    words = [sys.executable, "-c", program, str(example), str(file), str(video)]
    return subprocess.run(words, capture_output=True, text=True)


def with_sampling(file: Path, out: Path, **sampling: Any) -> Path:
    """A copy of an ONNX file that says something else of its sampling."""
    model = onnx.load(file)
    (entry,) = [entry for entry in model.metadata_props if entry.key == "timesformer"]
    says = json.loads(entry.value)
    says["preprocessing"]["sampling"].update(sampling)
    entry.value = json.dumps(says)
    onnx.save(model, out)
    return out


@pytest.mark.parametrize("method", ["span", "segments"])
def test_the_example_gives_what_predict_gives(
    method: str, files: dict[str, Path], bars: Path, tmp_path: Path, command: Command
) -> None:
    video, file = bars / "val" / "right" / "1.mp4", with_sampling(files["onnx"], tmp_path / "net.onnx", method=method)
    answers = command("predict", file, video)
    done = run_example(file, video)
    assert done.returncode == 0, done.stderr
    expected = [line.split("\t")[1:3] for line in answers.out.splitlines() if "\t" in line and "label" not in line]
    assert [line.split("\t") for line in done.stdout.splitlines()] == expected


def test_the_example_says_what_it_cannot_do(files: dict[str, Path], bars: Path, tmp_path: Path) -> None:
    file = with_sampling(files["onnx"], tmp_path / "net.onnx", method="cover")
    done = run_example(file, bars / "val" / "right" / "1.mp4")
    assert (done.returncode, done.stderr) == (1, f"{file}: sampling cover; this example has span and segments\n")


def test_int8_is_written_where_it_agrees(run: Path, bars: Path, tmp_path: Path, command: Command) -> None:
    out = tmp_path / "net.onnx"
    done = command("export", run, "--format", "onnx", "--out", out, "--precision", "int8", "--check", bars)
    if done.code:  # whether so small a network agrees is its own matter; it says so, and writes nothing
        assert_one_line(done, "not written, int8 misses its agreement")
        assert not list(tmp_path.iterdir())
    else:
        assert "clips of a float32 margin above 0.05" in done.out
        assert timesformer.load(out, precision="int8").engine.precision == "int8"


def test_a_file_that_misses_its_limit_is_not_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setitem(export_module.FILE_LIMITS, "fp32", Limit(-1.0, 1.0))  # a file may give the very same scores
    out = tmp_path / "net.pt2"
    done = command("export", run, "--format", "torch", "--out", out)
    assert_one_line(done, f"{out}: not written, fp32 misses its agreement: scores within ", "at most -1 is allowed")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--format", "tflite", "--out", "net.onnx"), ("format 'tflite': expected onnx, openvino, torch",)),
        (
            ("--format", "onnx", "--out", "net.onnx", "--precision", "bf16"),
            ("precision bf16: format onnx has fp32, fp16, int8; format openvino has it",),
        ),
        (("--format", "torch", "--out", "net.pt2", "--precision", "int8"), ("format torch has fp32, bf16, fp16",)),
        (("--format", "onnx", "--out", "net.onnx", "--precision", "int4"), ("precision int4: format onnx has",)),
        (("--format", "openvino", "--out", "net.onnx"), ("expected a name that ends in .xml for format openvino",)),
        (("--format", "onnx", "--out", "none/net.onnx"), ("there is no folder none",)),
        (("--format", "onnx", "--out", "net.onnx", "--precision", "int8"), ("int8 is calibrated on videos", "--check")),
        (
            ("--format", "onnx", "--out", "net.onnx", "--dynamic", "batch,colour"),
            ("expected some of batch,frames,size",),
        ),
        (("--format", "onnx", "--out", "net.onnx", "--check", "none"), ("none",)),
    ],
)
def test_what_cannot_be_exported(
    words: tuple[str, ...], parts: tuple[str, ...], run: Path, tmp_path: Path, monkeypatch: Any, command: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_line(command("export", run, *words), *parts)
    assert not list(tmp_path.iterdir())


def test_files_that_are_there_stay(run: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "net.bin").write_bytes(b"mine")
    done = command("export", run, "--format", "openvino", "--out", tmp_path / "net.xml")
    assert_one_line(done, "net.bin: exists already; name a new file")
    assert (tmp_path / "net.bin").read_bytes() == b"mine"


def test_a_missing_package(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = command("export", run, "--format", "onnx", "--out", tmp_path / "net.onnx")
    assert_one_line(done, "onnx, onnxscript, onnxruntime not installed; pip install '.[export]'", "torch")


@pytest.mark.parametrize("form", NAMES)
def test_what_needs_the_weights_refuses_a_file(form: str, files: dict[str, Path], bars: Path, tmp_path: Path) -> None:
    file = files[form]
    for use in (
        lambda: timesformer.load_model(file),
        lambda: timesformer.fit(small_recipe(), bars, tmp_path / "run", init=file),
        lambda: save_ensemble({"one": file}, tmp_path / "ensemble"),
        lambda: timesformer.export_model(file, tmp_path / "again.onnx", "onnx"),
    ):
        with pytest.raises(WeightsError, match=TAKEN):
            use()
    engine = timesformer.load_engine(file)
    clips = torch.zeros(1, 3, 4, 16, 16, dtype=torch.uint8)
    for asked in ({"tokens": True}, {"layer": 0}):
        with pytest.raises(SettingError, match="has features of the last layer alone"):
            engine.features(clips, **asked)
    with pytest.raises(SettingError, match=r"clips of 4 x 32 x 32: .* takes 4 x 16 x 16; export --dynamic size"):
        engine(torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8))
    with pytest.raises(SettingError, match=r"num_frames 8: .* was exported with 4; export --dynamic frames"):
        timesformer.evaluate(file, bars, frames=8)
    with pytest.raises(SettingError, match=r"precision bf16: .* was exported for precision fp32"):
        timesformer.load_engine(file, precision="bf16")
    with pytest.raises(SettingError, match=r"engine compile: .* was exported for engine"):
        timesformer.load_engine(file, "compile")


def test_labels_of_a_file(files: dict[str, Path], bars: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("to the left\nto the right\n")
    predictor = timesformer.load(files["torch"], labels=tmp_path / "names.txt")
    assert predictor.labels == ("to the left", "to the right")
    assert predictor.fingerprint != timesformer.load(files["torch"]).fingerprint
    assert predictor.predict(bars / "test" / "left" / "0.mp4")[0].label.startswith("to the ")


def test_damaged_and_foreign_files(files: dict[str, Path], tmp_path: Path) -> None:
    content = files["onnx"].read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match=r"cut.onnx: not a file that onnx can read"):
        timesformer.load(tmp_path / "cut.onnx")
    shutil.copyfile(files["openvino"], tmp_path / "alone.xml")  # without its .bin
    with pytest.raises(WeightsError, match=r"alone.xml: not a file that openvino can read"):
        timesformer.load(tmp_path / "alone.xml")
    key = b"timesformer\x12"  # of what the file says of itself
    assert key in content
    (tmp_path / "foreign.onnx").write_bytes(content.replace(key, b"timesformes\x12"))
    with pytest.raises(WeightsError, match=r"foreign.onnx: .timesformer export. did not write it"):
        timesformer.load(tmp_path / "foreign.onnx")


def test_a_machine_that_computes_something_else(files: dict[str, Path], tmp_path: Path) -> None:
    content = files["onnx"].read_bytes()
    before = json.loads(files["onnx"].with_name("net.onnx.json").read_text())["exported"]["reference"]["exported"]
    first = json.dumps(before)[1:10].encode()
    at = content.rindex(first)
    (tmp_path / "other.onnx").write_bytes(content[:at] + b"9" * len(first) + content[at + len(first) :])
    with pytest.raises(EngineError, match="miss those of the machine that exported it"):
        timesformer.load(tmp_path / "other.onnx")


def test_a_file_whose_logits_and_labels_do_not_match(files: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.xml"
    shutil.copyfile(files["openvino"].with_suffix(".bin"), other.with_suffix(".bin"))
    content = files["openvino"].read_text("utf-8")
    logits = "&quot;float32&quot;: ["
    assert content.count(logits) == 1
    other.write_text(content.replace(logits, f"{logits}0.5, "), "utf-8")
    with pytest.raises(WeightsError, match=r"other.xml: .* cannot be read: the number of classes does not match$"):
        timesformer.load(other)
