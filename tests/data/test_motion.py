"""The motion data set: nothing but the order of frames tells its classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from timesformer.data.manifest import read_manifest
from timesformer.data.motion import CLASSES, FRAMES, motion_clip, moving_shape, write_motion_data
from timesformer.errors import DataError
from timesformer.video.source import open_video

REVERSES = [("left", "right"), ("up", "down"), ("clockwise", "counter_clockwise"), ("growing", "shrinking")]


@pytest.mark.parametrize(("one", "other"), REVERSES)
def test_every_class_is_another_played_backwards(one: str, other: str) -> None:
    for seed in range(5):
        assert torch.equal(motion_clip(one, seed).flip(1), motion_clip(other, seed))


def test_all_classes_share_the_middle_frame() -> None:
    for seed in range(5):
        middles = [motion_clip(label, seed)[:, FRAMES // 2] for label in CLASSES]
        assert all(torch.equal(middle, middles[0]) for middle in middles)


def centre(frame_CHW: torch.Tensor) -> tuple[float, float, float]:
    """Row and column of the shape's middle, and its area: where the frame is brighter than the background can be."""
    mask = frame_CHW.amax(0) > 200
    rows, columns = mask.nonzero(as_tuple=True)
    return rows.float().mean().item(), columns.float().mean().item(), float(mask.sum())


def test_a_shape_at_rest_is_of_every_class_and_moves_around_its_middle() -> None:
    def mask(label: str, **how: Any) -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        return moving_shape(label, torch.zeros(4), generator, 96, 128, 0.75, **how)

    rest = mask("left")
    assert rest.shape == (1, 4, 96, 128)
    assert all(torch.equal(mask(label), rest) for label in CLASSES)
    torch.testing.assert_close(mask("up", middle=(0.375, 0.625)), rest.roll((-12, 16), (2, 3)))


@pytest.mark.parametrize("seed", range(12))
def test_shapes_move_as_their_class_says(seed: int) -> None:
    found = {label: [centre(motion_clip(label, seed)[:, frame]) for frame in (8, 10, 12)] for label in CLASSES}

    def moved(label: str) -> tuple[float, float, float]:
        """Rows down, columns to the right, and how many times the area."""
        (row, column, area), _, (end_row, end_column, end_area) = found[label]
        return end_row - row, end_column - column, end_area / area

    assert moved("right")[1] > 2
    assert abs(moved("right")[0]) < 2
    assert moved("left")[1] < -2
    assert moved("down")[0] > 2
    assert abs(moved("down")[1]) < 2
    assert moved("up")[0] < -2
    assert moved("growing")[2] > 1.2
    assert moved("shrinking")[2] < 1 / 1.2
    for label, sense in (("clockwise", 1), ("counter_clockwise", -1)):
        (row0, column0, _), (row1, column1, _), (row2, column2, _) = found[label]
        # rows count downwards, so a turn to the right has a positive cross product
        turn = (column1 - column0) * (row2 - row1) - (row1 - row0) * (column2 - column1)
        assert turn * sense > 0


def test_files_are_the_clips_and_workers_change_nothing(tmp_path: Path) -> None:
    count = []
    written = write_motion_data(tmp_path / "a", {"train": 1, "test": 1}, workers=1, on_clip=lambda: count.append(1))
    assert (written, len(count)) == (16, 16)
    write_motion_data(tmp_path / "b", {"train": 1, "test": 1}, workers=2)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.mp4"))
    assert [(tmp_path / "a" / file).read_bytes() for file in files] == [
        (tmp_path / "b" / file).read_bytes() for file in files
    ]
    manifest = read_manifest(tmp_path / "a", "train")
    assert manifest.labels == CLASSES
    with open_video(manifest.videos[0].path) as video:
        assert video.codec == "h264"
        found = video.read(range(FRAMES))
    difference = (found.float() - motion_clip("clockwise", 0).float()).abs()
    assert difference.mean() < 8  # chroma has half the resolution, and crf 18
    assert (tmp_path / "a" / "test").stat().st_mode & 0o777 == (tmp_path / "a").stat().st_mode & 0o777


def test_splits_share_no_clip(tmp_path: Path) -> None:
    write_motion_data(tmp_path / "a", {"train": 2, "test": 2}, workers=1)
    contents = {path.read_bytes() for path in (tmp_path / "a").rglob("*.mp4")}
    assert len(contents) == 32


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(DataError, match="exists already"):
        write_motion_data(tmp_path, {"train": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_global_random_numbers_play_no_part() -> None:
    torch.manual_seed(1)
    first = motion_clip("left", 3)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(motion_clip("left", 3), first)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="label 'sideways'"):
        motion_clip("sideways", 0)
