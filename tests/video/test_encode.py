"""Writing videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from timesformer.errors import SettingError, VideoError
from timesformer.video.encode import write_frames, write_video
from timesformer.video.source import open_video
from timesformer.video.video import Frame
from videos import picture


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    clip = torch.stack([torch.from_numpy(picture(number)).permute(2, 0, 1) for number in range(12)], dim=1)
    write_video(tmp_path / "clip.mp4", clip, fps=12.5, crf=4)
    with open_video(tmp_path / "clip.mp4") as video:
        assert (video.num_frames, video.codec) == (12, "h264")
        assert video.fps == pytest.approx(12.5)
        found = video.read(range(12))
    difference = (found.float() - clip.float()).abs()
    assert difference.mean() < 4  # chroma has half the resolution
    assert (difference[:, :, 26:46, 2:6] < 16).all()  # the inside of a block


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="37 x 53"):
        write_video(tmp_path / "odd.mp4", torch.zeros(3, 2, 37, 53, dtype=torch.uint8), fps=10)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_at_the_end_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "clip.mp4"
    path.write_bytes(b"the old file")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_video(path, torch.zeros(3, 2, 32, 48, dtype=torch.uint8), fps=10)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]
    assert path.read_bytes() == b"the old file"


def test_frame_rates_of_television(tmp_path: Path) -> None:
    for fps in (30000 / 1001, 23.976, 59.94, 15):
        write_video(tmp_path / "clip.mp4", torch.zeros(3, 30, 16, 16, dtype=torch.uint8), fps=fps)
        with open_video(tmp_path / "clip.mp4") as video:
            assert video.fps == pytest.approx(fps, rel=1e-3)


def test_frames_keep_their_times(tmp_path: Path) -> None:
    """Of a variable rate, and of odd sizes: the last row and column come twice."""
    times = [0.0, 0.04, 0.3, 0.34, 1.5, 1.54]
    images = [torch.from_numpy(picture(number, 47, 63)).permute(2, 0, 1) for number in range(6)]
    write_frames(tmp_path / "clip.mp4", map(Frame, times, images), fps=4, crf=4)
    with open_video(tmp_path / "clip.mp4") as video:
        assert [video.seconds(number) for number in range(6)] == pytest.approx(times, abs=1e-4)
        found = video.read(range(6))
    assert found.shape == (3, 6, 48, 64)
    assert (found[:, :, :47, :63].float() - torch.stack(images, 1).float()).abs().mean() < 4


def test_frames_that_end_early_leave_nothing(tmp_path: Path) -> None:
    def frames() -> Iterator[Frame]:
        yield Frame(0.0, torch.zeros(3, 32, 32, dtype=torch.uint8))
        raise VideoError("a.mp4", "frame 1 cannot be decoded")

    with pytest.raises(VideoError):
        write_frames(tmp_path / "clip.mp4", frames(), fps=10)
    assert list(tmp_path.iterdir()) == []
