"""Writing videos."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from timesformer.errors import SettingError
from timesformer.video.encode import write_video
from timesformer.video.source import open_video
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
