"""`timesformer explain`: its files, and every bad input in one line."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch

import timesformer
from commands import Command, assert_one_line
from conftest import moving_bar
from timesformer.explain.explainer import load_explainer
from timesformer.explain.faithfulness import Faithfulness
from timesformer.explain.save import FILES
from timesformer.video.encode import write_video
from timesformer.video.source import open_video
from timesformer.weights.ensemble import save_ensemble


@pytest.fixture
def video(bars: Path) -> Path:
    return bars / "test" / "left" / "0.mp4"


def test_all_files_are_there_and_say_the_same(command: Command, run: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    done = command("explain", run, video, "--class", "right", "--method", "relevance", "--out", out)
    assert done.code == 0, done.err
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert "0.mp4: right" in done.out
    assert all(name in done.out for name in ("deletion", "insertion", "centre", "random", *FILES))
    assert "seen: 4 of 10 frames, " in done.out
    assert "; scores by eager in " in done.out
    assert max(map(len, done.out.replace(str(out), "").replace(str(video), "").splitlines())) <= 80
    described, arrays = json.loads((out / "explanation.json").read_text()), np.load(out / "map.npz")
    assert described["class"] == "right"
    assert described["method"] == "relevance"
    assert described["engine"] == "eager"
    assert described["seen"] == {"seconds": 1.0, "frames": 10, "seen_seconds": 0.8, "seen_frames": 4}
    assert described["frames"] == arrays["frames"].tolist()
    with open_video(video) as opened:
        shown = opened.read([0]).shape[2:]
    assert arrays["map"].shape == (len(described["frames"]), *shown)
    assert arrays["map"].sum() == pytest.approx(1, abs=1e-4)
    sums = arrays["map"].sum((1, 2))
    assert described["frame_weights"] == pytest.approx((sums / sums.sum()).tolist(), abs=1e-4)
    for name in ("deletion", "insertion"):
        row = described["faithfulness"][name]
        low, high = row["random_interval"]
        assert low <= row["random"] <= high
        assert 0 <= row["map"] <= 1
    for name in ("overlay.mp4", "overlay.gif"):
        with av.open(str(out / name)) as container:
            assert sum(1 for _ in container.decode(video=0)) == len(described["frames"])
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in ("frames.png", "weights.png"))


def test_a_map_no_better_than_chance_is_said_to_be(
    command: Command, run: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = "warning: no measure finds this map better than orders at random"
    for number, (gain, warned) in enumerate(((-0.1, True), (0.1, False))):
        monkeypatch.setattr(Faithfulness, "gain", lambda self, name, order="map", gain=gain: (gain, (gain, gain)))
        done = command("explain", run, video, "--out", tmp_path / str(number))
        assert done.code == 0, done.err
        assert (warning in done.out.splitlines()) == warned


@pytest.mark.parametrize(
    "words",
    [
        ("--layer", "-1", "--head", "1"),
        ("--head-fusion", "max", "--discard", "0.5"),
        ("--query", "5,20,10", "--layer", "0"),
        ("--query", "5,20,10", "--grids", "2"),
    ],
    ids=" ".join,
)
def test_kinds_of_rollout(command: Command, run: Path, video: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = command("explain", run, video, *words, "--no-faithfulness", "--out", tmp_path / "found")
    assert done.code == 0, done.err
    described = json.loads((tmp_path / "found" / "explanation.json").read_text())
    assert described["faithfulness"] is None
    for name, value in zip(words[::2], words[1::2], strict=True):
        wanted = json.loads(f"[{value}]") if name == "--query" else value
        found = described[name[2:].replace("-", "_")]
        assert found == (wanted if name == "--query" else type(found)(value))


def test_occlusion_and_an_earlier_explanation(command: Command, run: Path, video: Path, tmp_path: Path) -> None:
    for _ in range(2):
        done = command("explain", run, video, "--method", "occlusion", "--no-faithfulness", "--out", tmp_path / "found")
        assert done.code == 0, done.err


def test_a_video_shorter_than_a_clip(command: Command, run: Path, tmp_path: Path) -> None:
    """Its last frame stands for those that are missing, as in prediction; the map has each frame once."""
    write_video(tmp_path / "short.mp4", moving_bar(1, 0, frames=2), 10)
    done = command("explain", run, tmp_path / "short.mp4", "--no-faithfulness", "--out", tmp_path / "found")
    assert done.code == 0, done.err
    arrays = np.load(tmp_path / "found" / "map.npz")
    assert arrays["frames"].tolist() == [0, 1]
    assert len(arrays["map"]) == 2


def test_a_part_is_explained_in_the_time_of_the_whole_video(command: Command, run: Path, tmp_path: Path) -> None:
    """The map is that of the part cut out; frames and seconds are those of the video."""
    clip = torch.cat([moving_bar(1, 0, frames=10), moving_bar(-1, 0, frames=10)], dim=1)
    write_video(tmp_path / "both.mp4", clip, 10)
    with open_video(tmp_path / "both.mp4") as opened:
        cut = opened.read(range(8, 17))
    out = tmp_path / "found"
    words = ("--start", "0.8", "--end", "0:01.7", "--no-faithfulness", "--out", out)
    done = command("explain", run, tmp_path / "both.mp4", *words)
    assert done.code == 0, done.err
    described, arrays = json.loads((out / "explanation.json").read_text()), np.load(out / "map.npz")
    best = timesformer.load(run, "cpu").predict(tmp_path / "both.mp4", start=0.8, end=1.7)[0]
    assert (described["start"], described["end"]) == (0.8, 1.7)
    assert (described["class"], described["score"]) == (best.label, pytest.approx(best.score, abs=1e-5))
    expected = load_explainer(run, "cpu").explain(cut, fps=10)
    assert described["frames"] == arrays["frames"].tolist() == [8 + number for number in expected.frames]
    assert described["seconds"] == pytest.approx([number / 10 for number in described["frames"]])
    # FFmpeg scales the frames of a file, torch those in memory.
    np.testing.assert_allclose(arrays["map"], expected.map_NHW.numpy(), rtol=0.01)
    strongest = int(np.argmax(described["frame_weights"]))
    assert f"most weight: frame {described['frames'][strongest]} · {described['seconds'][strongest]:.2f} s" in done.out
    with av.open(str(out / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(expected.frames)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--class", "lefd"), ("class 'lefd'", "not one of the 2 classes", "did you mean left?")),
        (("--class", "xyz"), ("class 'xyz'", "there are left, right")),
        (("--method", "gradcam"), ("method is 'gradcam'", "'rollout', 'relevance' or 'occlusion'")),
        (("--head-fusion", "sum"), ("head_fusion is 'sum'", "'mean', 'max' or 'min'")),
        (("--discard", "1"), ("discard is 1.0", "less than 1")),
        (("--layer", "7"), ("layer 7", "a model of 1 blocks has 0 to 0")),
        (("--head", "2"), ("head 2", "a model of 2 heads has 0 to 1")),
        (("--head", "-1"), ("head is -1", "greater than or equal to 0")),
        (("--grids", "0"), ("grids is 0", "greater than or equal to 1")),
        (("--method", "occlusion", "--grids", "2"), ("grids is 2", "only for method rollout or relevance")),
        (("--head", "0", "--head-fusion", "max"), ("head_fusion is max", "head 0 alone is not fused")),
        (("--query", "1,2"), ("--query is '1,2'", "expected FRAME,X,Y")),
        (("--query", "4,99,3"), ("pixel 99, 3", "32 x 24 pixels")),
        (("--query", "9999,3,3"), ("frame 9999", "looks at frames")),
        (("--method", "occlusion", "--layer", "0"), ("layer is 0", "only for method rollout or relevance")),
        (("--method", "relevance", "--discard", "0.2"), ("discard is 0.2", "only for method rollout")),
        (("--device", "tpu"), ("device 'tpu'",)),
        (("--start", "1", "--end", "1"), ("end is 1", "seconds after the start, which is 1")),
        (("--start", "60"), ("start is 60 s", "the video ends after")),
        (("--end", "60"), ("end is 60 s", "the video ends after")),
        (("--start", "0.5", "--query", "0,3,3"), ("query: frame 0", "looks at frames 5")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_what_is_not_allowed_is_one_line(
    command: Command, run: Path, video: Path, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    assert_one_line(command("explain", run, video, *words, "--out", tmp_path / "found"), *parts)
    assert not (tmp_path / "found").exists()


def test_files_that_are_no_videos_or_weights(command: Command, run: Path, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08\x12\x07pytorch")
    (tmp_path / "empty.mp4").touch()
    ensemble = save_ensemble({"one": run / "model", "two": run / "model"}, tmp_path / "ensemble")
    for weights, what, parts in (
        (run, tmp_path / "empty.mp4", ("the file is empty",)),
        (run, tmp_path / "none.mp4", ("no such file",)),
        (run, video.parent, ("",)),
        (tmp_path / "model.onnx", video, ("model.onnx: not a file that onnx can read",)),
        (tmp_path / "none.onnx", video, ("none.onnx",)),
        (ensemble, video, ("an ensemble of several classifiers", "name one of them")),
        (tmp_path, video, ("holds no weights",)),
    ):
        assert_one_line(command("explain", weights, what, "--out", out), *parts)
        assert not out.exists()


def test_an_exported_network_has_occlusion_alone(command: Command, run: Path, video: Path, tmp_path: Path) -> None:
    net, out = tmp_path / "net.onnx", tmp_path / "found"
    done = command("export", run, "--format", "onnx", "--out", net)
    assert done.code == 0, done.err
    for method in ("rollout", "relevance"):
        assert_one_line(
            command("explain", net, video, "--method", method, "--out", out),
            "net.onnx: an exported network hides its attention",
            "or --method occlusion",
        )
    done = command("explain", net, video, "--method", "occlusion", "--no-faithfulness", "--out", out)
    assert done.code == 0, done.err
    expected = load_explainer(run, "cpu").explain(video, method="occlusion")
    np.testing.assert_allclose(np.load(out / "map.npz")["map"], expected.map_NHW.numpy(), atol=1e-4)


def test_a_folder_of_something_else(command: Command, run: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    for name in (".map.npz.0123abcd.tmp", "notes.txt"):  # the first is of a killed process
        (tmp_path / "found" / name).touch()
    done = command("explain", run, video, "--out", tmp_path / "found")
    assert_one_line(done, "holds notes.txt, which is no file of an explanation")
    (tmp_path / "file").touch()
    assert_one_line(command("explain", run, video, "--out", tmp_path / "file"), "is a file; name a folder")
