"""The benchmark scripts that need hours or a GPU, on a network and clips that need neither."""

from __future__ import annotations

import importlib
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from timesformer.config.model import SIZES, Dimensions
from timesformer.data.manifest import read_manifest
from timesformer.evaluation.truth import read_truth

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmarks/gpu.py, with small clips, two blocks and one engine."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setitem(SIZES, "tiny", Dimensions(192, 2, 3))
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
def test_no_card_is_said_in_one_line(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    with pytest.raises(SystemExit, match=r"^no CUDA device on this machine: nothing is measured .*$"):
        gpu.main()
    assert capsys.readouterr() == ("", "")


def test_steps_by_what_is_trained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every row trains less than all; the table has the ratios of its runs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("trainable")
    seconds = {"all": [4.0, 2.0, 3.0], "last 4 blocks": [1.0, 1.0, 1.2]}

    def run(command: list[str], **how: Any) -> Any:
        name = command[-1]
        if name not in seconds:  # the others are measured, in this process
            monkeypatch.setattr(sys, "argv", command[3:])
            module.main()
            return subprocess.CompletedProcess(command, 0, capsys.readouterr().out)
        row = {"seconds": seconds[name].pop(0), "mib": 100.0, "trained": 10**9, "ran": "fp32, cpu"}
        return subprocess.CompletedProcess(command, 0, json.dumps(row))

    monkeypatch.setattr(module.subprocess, "run", run)
    shape = "--size tiny --num-frames 2 --image-size 32 --batch 1 --rounds 3 --steps 1 --precision fp32 --device cpu"
    monkeypatch.setattr(sys, "argv", ["trainable.py", *shape.split()])
    module.main()
    lines = {
        line.split("│")[1].strip(): line.split("│")[2:] for line in capsys.readouterr().out.splitlines() if "│" in line
    }
    assert [float(text) for text in lines["last 4 blocks"][1:3]] == [1.0, 0.4]
    width, depth = 192, 12
    time = 4 * width**2 + 4 * width + width**2 + width + 2 * width
    head = width * 400 + 400
    parts = depth * (time + 2 * 2 * width) + 2 * width + 2 * width + head
    assert float(lines["parts for video"][0]) == pytest.approx(parts / 1e6, abs=0.01)
    adapters = depth * 8 * (2 * (4 * width + 2 * width) + 2 * width + 2 * 5 * width) + head
    assert float(lines["adapters, rank 8"][0]) == pytest.approx(adapters / 1e6, abs=0.01)


@pytest.fixture
def people(bars: Path, tmp_path: Path) -> Path:
    """`bars` as lists of two people."""
    data = tmp_path / "people"
    data.mkdir()
    for split in ("train", "test"):
        rows = [
            f"{bars / split / label / f'{number}.mp4'},{label},{number % 2}"
            for label in ("left", "right")
            for number in range(2)
        ]
        (data / f"{split}.csv").write_text("\n".join(("path,label,subject", *rows, "")))
    return data


@pytest.fixture
def timelines(monkeypatch: pytest.MonkeyPatch) -> Any:
    """benchmarks/timeline_actions.py, with idle stretches of some frames."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("timeline_actions")
    monkeypatch.setattr(module, "GAPS", (0.5, 1.0))
    monkeypatch.setattr(module, "ALONE", 3.0)
    return module


def test_training_data_with_idle_clips(
    timelines: Any, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["_", "data", str(people), str(tmp_path / "out"), "--idle", "3"])
    timelines.main()
    manifest = read_manifest(tmp_path / "out", "train")
    assert Counter(manifest.labels[video.label] for video in manifest.videos) == {"idle": 6, "left": 2, "right": 2}
    clips = timelines.read_clips(tmp_path / "out", "train", "subject")
    assert Counter(clip.person for clip in clips if clip.label == "idle") == {"0": 3, "1": 3}
    for clip in clips:
        assert timelines.frames_of(clip)[0].shape[1] == 10


def test_long_videos_and_their_truth(timelines: Any, people: Path, tmp_path: Path) -> None:
    """Where the truth says that a clip is, its frames are; the same seed gives the same videos."""
    clips = timelines.read_clips(people, "test", "subject")
    joined = list(timelines.several_actions(clips, 2, 2, random.Random(3)))
    for video, fps in joined:
        assert fps == 10
        frames = torch.cat(video.parts, 1)
        assert {label for *_, label in video.truth} == {"left", "right"}
        for first, stop, label in video.truth:
            own = [timelines.frames_of(clip)[0] for clip in clips if clip.label == label]
            assert any(torch.equal(frames[:, first:stop], clip) for clip in own)
    again = list(timelines.several_actions(clips, 2, 2, random.Random(3)))
    for (one, _), (other, _) in zip(joined, again, strict=True):
        assert torch.equal(torch.cat(one.parts, 1), torch.cat(other.parts, 1))
    truth, frames = timelines.write_videos(iter(joined), tmp_path / "long")
    for one in truth:
        assert 0.5 <= one.start < one.end == pytest.approx(one.start + 1)
        assert one.end < frames[one.video][-1]
    for video, _ in timelines.one_action(clips, 3, random.Random(3)):
        assert (video.length, len(video.truth)) == (30, 1)


def test_timelines_are_measured(
    timelines: Any, people: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"measure {people} {run} {tmp_path / 'out'} --videos 2 --actions 2 --single 3 --window 1 --stride 0.25"
    monkeypatch.setattr(sys, "argv", ["_", *words.split(), "--smooth", "0.5", "--min-length", "0.5"])
    timelines.main()
    lines = (tmp_path / "out" / "results.md").read_text().splitlines()
    table = [line.split("|")[1:-1] for line in lines if "|" in line]
    assert [len(row) for row in table] == [5] * 6 + [2] * 4
    assert all(0 <= float(cell) <= 1 for row in table[2:5] for cell in row[1:])
    videos = sorted(map(str, (tmp_path / "out" / "several").iterdir()))
    truth = read_truth(tmp_path / "out" / "truth.csv", videos, ("left", "right"))
    assert len(truth.segments) == 4


def test_where_maps_point(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a model that has learned something else: what the values are, not how good."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module: Any = importlib.import_module("explain_cue")
    clip = module.motion_clip("clockwise", 3)
    shape = module.shape_in(clip)
    assert 0.02 < shape.float().mean() < 0.3
    out = tmp_path / "cue.json"
    words = ["explain_cue.py", str(run), "--clips", "1", "--methods", "rollout", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    module.main()
    found, truest = json.loads(out.read_text())
    assert (found["method"], found["clips"], truest["method"]) == ("rollout", 8, "shape")
    assert 0 <= found["maximum"] <= found["near"] <= 1
    assert found["maximum"] <= found["place"]
    assert truest["near"] == 1
    assert truest["mass"] > found["mass"]
    assert found["mass_interval"][0] < found["mass"] < found["mass_interval"][1]
    assert -1 <= found["shuffled"] <= 1


def test_a_map_of_the_shape_itself_scores_best(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module: Any = importlib.import_module("explain_cue")
    clip = module.motion_clip("left", 3)
    found = module.load_explainer(run, "cpu").explain(clip, fps=module.FPS)
    shape = module.shape_in(clip)
    area = float(shape[found.frames].float().mean())
    right = found._replace(map_NHW=shape[found.frames].float())
    assert module.judge(right, shape) == {"maximum": 1.0, "near": 1.0, "place": 1.0, "mass": pytest.approx(1 / area)}
    wrong = found._replace(map_NHW=1 - shape[found.frames].float())
    assert module.judge(wrong, shape)["mass"] == 0


def test_what_explanations_cost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In operations, as if each took a hundredth of a second: how long they take here depends on what else runs."""

    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
            self.count += 1
            return function(*given, **(named or {}))

    def counted(run: Callable[[], object], device: torch.device) -> float:
        with Counter() as counter:
            run()
        return counter.count / 100

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module: Any = importlib.import_module("explain_cost")
    words = "explain_cost.py --size tiny --frames 2 --image-size 32 --rounds 1"
    monkeypatch.setattr(sys, "argv", words.split())
    monkeypatch.setattr(module, "timed", counted)
    module.main()
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("timesformer, divided_space_time, width 192, 12 blocks, 3 heads, patch 16, 2 x 32, ")
    rows = [line.split() for line in lines]
    assert [row[0] for row in rows] == ["prediction", "rollout", "relevance"]
    first = float(rows[0][1])
    assert rows[0][3] == "1.00"
    assert float(rows[1][3]) > 1  # with the prediction in it
    assert float(rows[2][1]) > first
