"""Real measurements of small networks and videos: what is timed is the work that is meant."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F

from timesformer.bench.cost import measure_point
from timesformer.bench.model import measure_model, random_classifier
from timesformer.bench.products import inference_products
from timesformer.bench.train import Step, measure_step
from timesformer.bench.video import measure_videos
from timesformer.config import ActivationCheckpointing, TimeSformerSettings
from timesformer.errors import DataError, SettingError
from timesformer.video.convert import ClipWriter
from timesformer.video.transforms import normalise

SMALL = TimeSformerSettings(size="tiny", depth=2, num_frames=2, image_size=32, num_classes=5, drop_path=0)


def test_a_model_of_ones_own_at_another_shape() -> None:
    rounds: list[None] = []
    found = measure_model(
        random_classifier(SMALL),
        frames=4,
        image_size=48,
        batch=2,
        precision="fp32",
        rounds=3,
        device="cpu",
        on_round=lambda: rounds.append(None),
    )
    speed = found.speed
    assert (found.engine, found.precision, found.device, len(rounds)) == ("eager", "fp32", "cpu", 3)
    assert speed.clips == (2, 3, 4, 48, 48)
    products = inference_products(SMALL, speed.clips)
    assert speed.macs == sum(product.macs for product in products)
    assert speed.clips_per_second == 2 / speed.seconds.median
    assert 0 < speed.limit.low <= speed.limit.median <= speed.limit.high
    assert found.as_dict()["seconds"]["median"] == speed.seconds.median


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "large"}, "size is large, but the weights have their own"),
        ({"scheme": "axial"}, "scheme is axial, but the weights have their own"),
        ({"batch": 0}, "batch is 0: at least 1"),
        ({"frames": 0}, "frames is 0: at least 1"),
        ({"image_size": 40}, "height and width must be multiples of the patch size 16"),
        ({"engine": "torch"}, "engine is 'torch': one of"),
    ],
)
def test_what_a_model_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        measure_model(random_classifier(SMALL), device="cpu", **options)


def test_a_step_is_that_of_training() -> None:
    step = Step(SMALL, 3, "fp32", "cpu")
    with torch.no_grad():
        logits = step.network(normalise(step.clips, step.preprocessing))
    first = step()
    assert float(first) == pytest.approx(float(F.cross_entropy(logits, step.labels)), rel=1e-5)
    assert float([step() for _ in range(8)][-1]) < float(first) - 0.05
    assert type(step.optimizer).__name__ == "AdamW"
    assert all(group["fused"] for group in step.optimizer.param_groups)


def test_checkpointed_steps_are_the_same_steps() -> None:
    losses = []
    for what in get_args(ActivationCheckpointing):
        step = Step(SMALL, 2, "fp32", "cpu", checkpoint_activations=what)
        losses.append([float(step()) for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] == pytest.approx(losses[2], rel=1e-5)


def test_a_measured_step() -> None:
    found = measure_step(size="tiny", frames=2, image_size=32, batch=2, precision="fp32", rounds=2, device="cpu")
    assert (found.precision, found.speed.clips, found.speed.rounds) == ("fp32", (2, 3, 2, 32, 32), 2)
    assert found.speed.clips_per_second == pytest.approx(2 / found.speed.seconds.median)
    with pytest.raises(SettingError, match="scheme is 'spiral', should be"):
        measure_step(scheme="spiral")
    with pytest.raises(SettingError, match="checkpoint_activations is 'all': one of none, cheap, blocks"):
        measure_step(checkpoint_activations="all")


@pytest.mark.parametrize(("limit", "passes"), [(60.0, 3), (0.0, 1)])
@pytest.mark.parametrize("train", [False, True])
def test_a_point_has_as_many_passes_as_time_allows(limit: float, passes: int, train: bool) -> None:
    found = measure_point(
        SMALL.model_dump(mode="json"),
        batch=1,
        rounds=3,
        train=train,
        checkpoint_activations="none",
        engine="auto",
        precision="fp32",
        device="cpu",
        seconds=limit,
        memory_limit=None,
    )
    assert found["passes"] == passes
    assert found["seconds_low"] <= found["seconds"] <= found["seconds_high"]
    assert found["ran"] == f"{'fp32' if train else 'eager fp32'}, cpu, {torch.get_num_threads()} threads"


def test_videos(bars: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    found = measure_videos(
        [bars / "val", tmp_path / "broken.mp4"],
        frames=4,
        image_size=24,
        sampling="cover",
        rate=1,
        crops=1,
        workers=0,
        rounds=2,
    )
    assert (found.videos, found.clips) == (4, 8)  # 10 frames are 2 clips of 4
    assert found.opening + found.decoding + found.resizing + found.cropping == pytest.approx(1)
    assert min(found.opening, found.decoding, found.resizing, found.cropping) > 0
    assert found.alone.videos_per_second * found.alone.seconds.median == pytest.approx(4)
    assert found.alone.ms_per_clip == pytest.approx(1e3 * found.alone.seconds.median / 8)
    assert found.together is None
    assert [problem.path.name for problem in found.problems] == ["broken.mp4"]
    with pytest.raises(DataError, match=r"none of 1 videos can be read: .*broken"):
        measure_videos([tmp_path / "broken.mp4"])


def test_time_in_resizing_is_called_so(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a second whenever a frame is resized, and by a microsecond whenever it is read."""
    write, now = ClipWriter.write, 0.0

    def clock() -> float:
        nonlocal now
        now += 1e-6
        return now

    def slowly(self: ClipWriter, number: int, frame: Any) -> None:
        nonlocal now
        now += 1
        write(self, number, frame)

    monkeypatch.setattr("timesformer.bench.video.time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(ClipWriter, "write", slowly)
    found = measure_videos([bars / "val"], frames=4, image_size=24, sampling="segments", workers=0, rounds=1)
    assert found.resizing == pytest.approx(1, abs=1e-4)
    assert found.alone.seconds.median == pytest.approx(4 * 4, abs=1e-3)


def test_videos_in_workers(bars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timesformer.bench.video.LONG_ENOUGH", 0.2)
    found = measure_videos([bars / "val"], frames=2, image_size=24, workers=1, rounds=1)
    assert found.workers == 1
    assert found.together is not None
    assert found.together.clips_per_second == pytest.approx(4 / found.together.seconds.median)
