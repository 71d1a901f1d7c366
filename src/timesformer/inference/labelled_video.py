"""A video with the labels of its segments burnt in. Its sound is not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from timesformer.errors import SettingError
from timesformer.inference.segment_files import caption
from timesformer.inference.segments import Segment
from timesformer.video.encode import write_frames
from timesformer.video.source import Source, open_video
from timesformer.video.video import Frame

SMALLEST = 320  # pixels of the short side; smaller videos are enlarged, so that labels can be read
BAND = 0.1  # height of the band that labels are in, as a fraction of the short side
DARK = 0.35  # how bright the picture is behind a label


def write_labelled(
    source: Source,
    segments: Sequence[Segment],
    file: Path,
    *,
    fps: float | None = None,
    on_frame: Callable[[float], None] = lambda seconds: None,
) -> None:
    """Write a video as h264 in MP4 with its own time stamps, each segment's label and mean score at the bottom of its
    frames. One with a short side below 320 pixels is enlarged to that.

    source, fps: as for `timesformer.video.source.open_video`, and the same errors. segments: in their order, without
    overlaps. on_frame: called with the time of each frame. Raises SettingError where the times of frames are unknown.
    """
    with open_video(source, fps) as video:
        first = next(video.frames())
        if first.seconds is None or video.fps is None:
            raise SettingError(f"{video.name}: the times of its frames are unknown; {file} needs them")
        small = min(first.image.shape[1:]) < SMALLEST
        frames = video.frames(SMALLEST if small else None)
        write_frames(file, _labelled(frames, segments, on_frame), video.fps)


def _labelled(
    frames: Iterable[Frame], segments: Sequence[Segment], on_frame: Callable[[float], None]
) -> Iterator[Frame]:
    ahead = list(reversed(segments))
    band: Tensor | None = None
    for seconds, image in frames:
        assert seconds is not None
        while ahead and ahead[-1].end <= seconds:
            ahead.pop()
            band = None
        if ahead and ahead[-1].start <= seconds:
            if band is None:
                band = draw_band(caption(ahead[-1]), *image.shape[1:])
            behind = image[:, -band.shape[0] :]
            behind[:] = (behind * DARK * (1 - band) + 255 * band).round()
        on_frame(seconds)
        yield Frame(seconds, image)


def draw_band(text: str, height: int, width: int) -> Tensor:
    """A line of text for frames of that size, as wide as they are: how white each pixel is, float32 (H, W) in 0..1.

    Text that would be too wide is smaller, down to half the size, and then its end is cut, which "…" says.
    """
    rows = max(round(BAND * min(height, width)), 8)
    figure = Figure(figsize=(width, rows), dpi=1, facecolor="black")
    size = 0.62 * rows * 72  # in points of an inch that has one pixel
    line = figure.text(0.5, 0.5, text, color="white", size=size, ha="center", va="center_baseline", parse_math=False)

    def fraction() -> float:
        return line.get_window_extent().width / (0.96 * width)

    line.set_fontsize(size / max(1.0, min(2.0, fraction())))
    while fraction() > 1 and len(text) > 1:
        text = text[:-1]
        line.set_text(f"{text}…")
    drawn = BytesIO()
    figure.savefig(drawn, format="rgba", dpi=1)
    return torch.frombuffer(drawn.getbuffer(), dtype=torch.uint8).view(rows, width, 4)[..., 0] / 255
