"""Videos with labels burnt in: where and when they are, and that all else stays."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from timesformer.errors import SettingError, VideoError
from timesformer.inference.labelled_video import BAND, DARK, draw_band, write_labelled
from timesformer.inference.segments import Segment
from timesformer.video.source import open_video
from videos import number_in, write


def test_labels_are_on_the_frames_of_their_segments(tmp_path: Path) -> None:
    """Of a video of variable rate: half-open, and all other pixels as they were."""
    times = [0, 1, 2, 5, 9, 10, 11, 12, 20, 21]
    source = write(tmp_path / "a.mp4", 10, size=(320, 400), times=times, time_base=Fraction(1, 10), rate=10)
    segments = [Segment(0.1, 0.9, "wave", 0.9, 0.9), Segment(0.9, 1.2, "walk", 0.8, 0.9)]
    seen: list[float] = []
    write_labelled(source, segments, tmp_path / "b.mp4", on_frame=seen.append)
    with open_video(source) as before, open_video(tmp_path / "b.mp4") as after:
        assert [after.seconds(number) for number in range(10)] == pytest.approx(seen, abs=1e-3)
        assert seen == pytest.approx([time / 10 for time in times], abs=1e-3)
        old, new = before.read(range(10)), after.read(range(10))
    band = round(BAND * 320)
    assert (old[:, :, :-band].float() - new[:, :, :-band].float()).abs().mean() < 4
    below = (old[:, :, -band:].float() - new[:, :, -band:].float()).abs().mean(dim=(0, 2, 3))
    assert (below > 15).nonzero()[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    # The frames of one segment have the same text, those of the other another one.
    columns = slice(20, 380)
    texts = [
        new[:, number, -band:, columns].float() - DARK * old[:, number, -band:, columns].float() for number in range(10)
    ]
    assert (texts[1] - texts[3]).abs().mean() < 6 < (texts[3] - texts[4]).abs().mean()
    assert (texts[4] - texts[6]).abs().mean() < 6


def test_small_videos_are_enlarged(tmp_path: Path) -> None:
    source = write(tmp_path / "a.mp4", 5, size=(48, 64))
    write_labelled(source, [], tmp_path / "b.mp4")
    with open_video(tmp_path / "b.mp4") as video:
        assert video.size == (320, 426)
        frames = video.read(range(5))
    assert [number_in(np.ascontiguousarray(frames[:, k].permute(1, 2, 0).numpy())) for k in range(5)] == [0, 1, 2, 3, 4]


def test_text_fits() -> None:
    """It is centred and never at the border; what is too long is smaller, and then cut."""
    short, long, endless = (draw_band(text, 320, 400) for text in ("wave 0.93", "w" * 30, "w" * 300))
    for band in (short, long, endless):
        assert band.shape == (32, 400)
        assert band.max() > 0.7
        assert band[:, :4].max() == band[:, -4:].max() == 0
        inked = band.max(dim=0).values.nonzero()[:, 0]
        assert abs(inked.float().mean() - 200) < 6

    def height(band: torch.Tensor) -> int:
        rows = band.max(dim=1).values.nonzero()[:, 0]
        return int(rows.max() - rows.min())

    assert height(short) > height(long) >= height(endless) > 4
    assert draw_band("$x$ ${", 320, 400).max() > 0.9  # no formula
    assert torch.equal(draw_band("a", 320, 400), draw_band("a", 320, 400))


def test_videos_without_times(tmp_path: Path) -> None:
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    with pytest.raises(SettingError, match=r"the times of its frames are unknown; .*b\.mp4 needs them"):
        write_labelled(frames, [], tmp_path / "b.mp4")
    write_labelled(frames, [], tmp_path / "b.mp4", fps=10)
    with pytest.raises(VideoError, match="no such file"):
        write_labelled(tmp_path / "none.mp4", [], tmp_path / "c.mp4")
    assert [file.name for file in tmp_path.iterdir()] == ["b.mp4"]
