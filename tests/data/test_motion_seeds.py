"""What the seed of the motion data decides, what it leaves alone, and what a call that fails leaves behind."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from timesformer.data import motion
from timesformer.data.manifest import read_manifest
from timesformer.data.motion import CLASSES, FORWARD, FRAMES, motion_clip, write_motion_data
from timesformer.errors import DataError
from timesformer.video.source import open_video


def test_the_same_seed_gives_the_same_bits_and_another_others() -> None:
    for label in CLASSES:
        clips = [motion_clip(label, seed) for seed in range(3)]
        assert clips[0].dtype == torch.uint8
        assert all(torch.equal(clip, motion_clip(label, seed)) for seed, clip in enumerate(clips))
        middles = [clip[:, FRAMES // 2] for clip in clips]
        assert not torch.equal(middles[0], middles[1])
        assert not torch.equal(middles[0], middles[2])


def test_reversed_classes_have_the_same_frames_in_another_order() -> None:
    """No bag of frames tells a class from its reverse: half the classes at best."""
    assert len(FORWARD) == len(CLASSES) // 2
    pairs = {"right": "left", "down": "up", "clockwise": "counter_clockwise", "growing": "shrinking"}
    assert sorted(pairs) == sorted(FORWARD)
    for seed in range(20, 32):
        for one, other in pairs.items():
            there, back = (
                sorted(frame.numpy().tobytes() for frame in motion_clip(label, seed).unbind(1))
                for label in (one, other)
            )
            assert there == back


def test_classes_part_at_once_from_the_middle() -> None:
    for seed in range(4):
        clips = {label: motion_clip(label, seed) for label in CLASSES}
        middle = FRAMES // 2
        for label, clip in clips.items():
            later = [other for other, there in clips.items() if torch.equal(clip[:, middle + 2], there[:, middle + 2])]
            assert later == [label]


def test_other_sizes_are_drawn_to_scale() -> None:
    small, large = motion_clip("right", 3), motion_clip("right", 3, 96, 112)
    assert large.shape == (3, FRAMES, 96, 112)

    def middles(clip: torch.Tensor) -> torch.Tensor:
        """Column of the shape's middle, of all frames, as a fraction of the width."""
        bright = (clip.amax(0) > 200).float()
        columns = torch.arange(clip.shape[3]) + 0.5
        return (bright * columns).sum((1, 2)) / bright.sum((1, 2)) / clip.shape[3]

    torch.testing.assert_close(middles(large), middles(small), atol=0.03, rtol=0)


def test_no_generator_but_its_own() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[union-attr]
    first = motion_clip("up", 9)
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[union-attr]
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    assert torch.equal(motion_clip("up", 9), first)


def test_files_hold_nearly_the_frames_that_were_drawn(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()  # empty folders are taken
    assert write_motion_data(tmp_path / "data", {"test": 1}, seed=4, workers=1) == 8
    manifest = read_manifest(tmp_path / "data", "test")
    assert manifest.labels == CLASSES
    jobs = {job.label: job for job in motion._jobs(Path(), {"test": 1}, 4)}
    for path, label in manifest.videos:
        drawn = motion_clip(CLASSES[label], jobs[CLASSES[label]].seed)
        with open_video(path) as video:
            assert (video.num_frames, video.fps) == (FRAMES, 10.0)
            found = video.read(range(FRAMES))
        # Brightness keeps its resolution, colours have half of it.
        grey, expected = (
            torch.einsum("cthw,c->thw", clip.float(), torch.tensor([0.299, 0.587, 0.114])) for clip in (found, drawn)
        )
        distances = (grey[:, None] - expected[None]).abs().mean((2, 3))
        assert distances.diagonal().max() < 3
        assert distances.argmin(1).tolist() == list(range(FRAMES))  # no frame is nearer to another moment
    seeds = [job.seed for job in motion._jobs(Path(), {"train": 3, "val": 2, "test": 2}, 4)]
    assert len(set(seeds)) == len(seeds) == 7 * 8


def test_a_call_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_motion_data(tmp_path / "deep" / "data", {"train": 1}, workers=1, on_clip=fail)
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    with pytest.raises(DataError, match=r"data: exists already; name a new or an empty folder"):
        write_motion_data(tmp_path / "data", {"train": 1})
    assert (tmp_path / "data").read_text() == "mine"
