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
