"""The command as its users meet it: output, exit codes, one clear line for whatever is wrong."""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pyarrow.parquet
import pytest

from commands import Command, assert_one_line

SMALL = (
    "model.width=32",
    "model.depth=1",
    "model.heads=2",
    "model.num_frames=4",
    "model.image_size=16",
    "augmentation.short_side=[16, 20]",
    "training.epochs=1",
    "training.device=cpu",
    "data.workers=0",
    "optimizer.warmup_epochs=0.5",
)


def test_cost_prints_the_papers_numbers(command: Command) -> None:
    words = ["--size", "base", "--scheme", "divided_space_time", "--frames", 8, "--image-size", 224, "--classes", 400]
    counted = json.loads(command("cost", *words, "--json").out)
    assert counted.keys() == {"parameters", "macs"}
    assert counted["parameters"] / 1e6 == pytest.approx(121.57, abs=0.01)
    assert counted["macs"] / 1e9 == pytest.approx(196, rel=0.01)


def test_train_test_predict(command: Command, bars: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained = command("train", "--data", bars, "--recipe", "demo", "--out", run, *SMALL, "seed=3")
    assert (trained.code, trained.err) == (0, "")
    assert "8 training videos, 4 validation videos (val), 2 classes" in trained.out
    assert str(run / "model") in trained.out

    scores = tmp_path / "scores.parquet"
    tested = command("test", run, "--data", bars, "--out", scores, "--workers", 0, "--precision", "fp32", "--json")
    summary = json.loads(tested.out)
    counts = {"videos", "skipped", "groups", "engine", "precision"}
    measured = {"top1", "mean_class_accuracy", "auc", "intervals", "majority", "calibration_error"}
    assert summary.keys() == measured | counts
    assert (summary["videos"], summary["skipped"]) == (4, 0)
    rows = pyarrow.parquet.read_table(scores).to_pylist()
    assert summary["top1"] == pytest.approx(sum(row["label"] == row["predicted"] for row in rows) / 4)

    predicted = json.loads(command("predict", run, bars / "test", "--top", 1, "--precision", "fp32", "--json").out)
    assert [entry["video"] for entry in predicted] == [row["path"] for row in rows]
    assert [entry["predictions"][0]["label"] for entry in predicted] == [row["predicted"] for row in rows]
    assert predicted[0]["predictions"][0]["score"] == pytest.approx(max(rows[0]["scores"]), abs=1e-5)

    piped = command("predict", run, bars / "test", "--precision", "fp32", "--engine", "eager")
    assert piped.err.startswith("engine eager, fp32 (as asked); logits within ")
    lines = piped.out.splitlines()
    assert lines[0].split("\t") == ["video", "label", "score", "problem"]
    assert [line.split("\t")[:2] for line in lines[1::2]] == [[row["path"], row["predicted"]] for row in rows]
    assert lines[1].split("\t")[2] == f"{predicted[0]['predictions'][0]['score']:.3f}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--engine", "fast"), "engine is 'fast': one of auto, eager"),
        (("--precision", "fp8"), "precision is 'fp8': one of auto, fp32"),
        (("--engine", "onnx", "--precision", "bf16"), "precision bf16 is not for engine onnx, which has fp32"),
    ],
)
def test_engines_that_are_not_there(
    command: Command, run: Path, bars: Path, options: tuple[str, ...], words: str
) -> None:
    assert_one_line(command("predict", run, bars / "test", *options), words)
    assert_one_line(command("test", run, "--data", bars, *options), words)


def test_predict_and_test_in_eight_bits(command: Command, run: Path, bars: Path) -> None:
    for words in (("predict", run, bars / "test"), ("test", run, "--data", bars, "--workers", 0)):
        result = command(*words, "--precision", "int8")
        assert result.code == 0
        assert "engine eager, int8 (as asked); logits within" in result.err


def test_convert_there_and_predict_the_same(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    video = bars / "test" / "left" / "0.mp4"
    expected = json.loads(command("predict", run, video, "--json").out)
    for layout in ("official", "mmaction2", "huggingface", "native"):
        out = tmp_path / layout
        converted = command("convert", run, out, "--to", layout)
        assert converted.code == 0, converted.err
        assert f"as {layout}" in converted.out
        assert ("README.md has code that gives the same" in converted.out) == (layout == "huggingface")
        assert json.loads(command("predict", out, video, "--json").out) == expected
    names = tmp_path / "names.txt"
    names.write_text("west\neast\n")
    renamed = json.loads(command("predict", run, video, "--labels", names, "--json").out)
    assert {entry["label"] for entry in renamed[0]["predictions"]} == {"west", "east"}
    assert_one_line(command("convert", run, tmp_path / "official", "--to", "native"), "official: exists already")


def test_data_motion(command: Command, tmp_path: Path) -> None:
    made = command("data", "motion", tmp_path / "motion", "--train", 1, "--val", 1, "--test", 1, "--workers", 1)
    assert made.code == 0
    assert len(list((tmp_path / "motion").rglob("*.mp4"))) == 24


def test_data_check(command: Command, bars: Path, tmp_path: Path) -> None:
    data, bad = shutil.copytree(bars, tmp_path / "data"), tmp_path / "data" / "train" / "left" / "bad.mp4"
    shutil.copy(data / "train" / "left" / "0.mp4", data / "val" / "left" / "again.mp4")
    sound = command("data", "check", data, "--workers", 1)
    assert (sound.code, sound.err) == (0, "")
    lines = sound.out.splitlines()
    assert lines[0].startswith(f"{data}: 17 files, decoded in ")
    assert [line.split() for line in lines[2:10]] == [
        ["split", "videos", "unreadable", "classes", "smallest", "largest", "imbalance"],
        ["train", "8", "0", "2", "left", "4", "left", "4", "1.0"],
        ["val", "5", "0", "2", "right", "2", "left", "3", "1.5"],
        ["test", "4", "0", "2", "left", "2", "left", "2", "1.0"],
        [],
        ["class", "train", "val", "test"],
        ["left", "4", "3", "2"],
        ["right", "4", "2", "2"],
    ]
    assert "length    1 s to 1 s, median 1 s, 17 s in all" in lines
    assert "size      32x24 (17)" in lines
    assert "files that cannot be decoded: none" in lines
    assert "  train: train/left/0.mp4 = val: val/left/again.mp4" in lines

    bad.touch()
    found = command("data", "check", data, "--json")
    assert (found.code, found.err) == (1, "")
    assert json.loads(found.out)["unreadable"] == [{"path": "train/left/bad.mp4", "reason": "the file is empty"}]
    assert (data / "quarantine.csv").read_text() == "path,reason\ntrain/left/bad.mp4,the file is empty\n"

    assert_one_line(command("data", "check", tmp_path / "none"), "none: no such data folder")
    assert_one_line(command("data", "check", data, "--out", tmp_path / "none" / "x.csv"), "no such folder")


def test_bad_weights(command: Command, bars: Path, tmp_path: Path) -> None:
    assert_one_line(command("test", tmp_path / "none", "--data", bars), "none: no such file or folder")
    (tmp_path / "empty").mkdir()
    assert_one_line(command("predict", tmp_path / "empty", bars), "empty: holds no weights")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("cost", "--nope"), "No such option: --nope"),
        (("nope",), "No such command 'nope'"),
        (("predict",), "Missing argument 'WEIGHTS'"),
        (("data", "split"), "Missing argument 'DATA'"),
        (("timeline", "w", "v", "--start", "x"), "'x'; expected seconds, or hh:mm:ss[.fff]"),
        (("cost", "--frames", "x"), "Invalid value for '--frames': "),
    ],
)
def test_words_that_no_command_takes(command: Command, words: tuple[str, ...], says: str) -> None:
    assert_one_line(command(*words), says, "-h` says what it takes")


def test_the_help_of_study_lists_the_studies(command: Command) -> None:
    from timesformer.study.studies import STUDIES

    result = command("study", "-h")
    assert result.code == 0
    listed = [line.split()[0] for line in result.out.partition("Studies:\n")[2].splitlines() if line.startswith("  ")]
    assert listed == [*STUDIES, "cost"]
    assert "  tokens       frames and resolution (Figure 5)\n" in result.out


def test_no_words_at_all_are_answered_with_the_help(command: Command) -> None:
    for words in ((), ("data",), ("bench",)):
        result = command(*words)
        assert "Usage: timesformer" in result.out + result.err
        assert "timesformer:" not in result.err


def test_cost_of_small_networks_and_of_settings_of_others(command: Command) -> None:
    """A network whose G multiply-accumulates would be 0.0; options that the architecture does not have."""
    words = ("cost", "--size", "tiny", "--image-size", 16, "--frames", 1, "--scheme", "space_only")
    said = re.search(r"([0-9.]+) M multiply", command(*words).out)
    assert said is not None
    assert float(said[1]) == pytest.approx(json.loads(command(*words, "--json").out)["macs"] / 1e6, rel=0.005)
    for option, value, has in (
        ("--scheme", "axial", "timesformer"),
        ("--size", "tiny", "timesformer and frame_vit"),
        ("--patch-size", 8, "timesformer and frame_vit"),
    ):
        refused = command("cost", "--architecture", "i3d", option, value)
        name = option[2:].replace("-", "_")
        assert_one_line(refused, f"'{name}' is a setting of architecture {has}; this one has architecture, num_frames")
        assert "did you mean" not in refused.err


@pytest.mark.parametrize("option", ["--frames", "--image-size", "--classes"])
def test_cost_refuses_nothing_at_all(command: Command, option: str) -> None:
    result = command("cost", option, 0)
    assert_one_line(result, f"Invalid value for '{option}': ")
    assert "1" in result.err.split(option)[1]  # the smallest that is allowed


def test_a_folder_below_a_file(command: Command, run: Path, bars: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "x", tmp_path / "file" / "x" / "y"):
        words = ("train", "--data", bars, "--recipe", "demo", *SMALL, "--out", out)
        assert_one_line(command(*words), str(tmp_path / "file"))
        for layout in ("native", "official"):
            assert_one_line(command("convert", run, out, "--to", layout), str(tmp_path / "file"))
        assert_one_line(command("demo", "--out", out), str(tmp_path / "file"))
        assert_one_line(command("test", run, "--data", bars, "--out", out / "a.pkl"), str(tmp_path / "file"))


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def test_errors_of_the_system_are_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied", "some/file")
    for error, line in (
        (denied, "timesformer: some/file: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "timesformer: No space left on device"),
    ):
        monkeypatch.setattr("timesformer.inference.load.load", raising(error))
        result = command("predict", "weights", "a.mp4")
        assert (result.code, result.err) == (2, f"{line}\n")
    monkeypatch.setattr("timesformer.inference.load.load", raising(OSError("a mistake of ours")))
    with pytest.raises(OSError, match="a mistake of ours"):
        command("predict", "weights", "a.mp4")


def test_what_is_stopped_says_so(command: Command, bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timesformer.inference.load.load", raising(KeyboardInterrupt()))
    result = command("predict", "weights", "a.mp4")
    assert (result.code, result.err) == (130, "timesformer: stopped\n")
    monkeypatch.setattr("timesformer.training.train.make_trainer", raising(KeyboardInterrupt()))
    result = command("train", "--data", bars, "--recipe", "demo", "--out", tmp_path / "run", *SMALL)
    assert (result.code, result.err) == (130, "timesformer: stopped; there is no checkpoint yet\n")
    assert "stopped" not in result.out
