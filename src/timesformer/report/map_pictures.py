"""Small pictures of the videos and windows of a table of features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from timesformer.device import cores
from timesformer.errors import VideoError
from timesformer.features.table import FeatureTable
from timesformer.files import unescape
from timesformer.report.thumbnails import SHORT_SIDE, picture_uri
from timesformer.video.source import Source, open_video
from timesformer.video.video import Video


class Pictures(NamedTuple):
    """A data URI of each row, None where its video cannot be read; and why, once a video."""

    of_rows: list[str | None]
    problems: list[VideoError]


def pictures_of(table: FeatureTable, data: Path | None, on_video: Callable[[int, int], None]) -> Pictures:
    """The frame in the middle of each row's video or window.

    data: where videos with relative paths lie: the data set's folder or CSV; None for the working folder. on_video:
    called with the videos that are done and all there are. Videos are decoded side by side, one a core.
    """
    folder = Path() if data is None else data.parent if data.is_file() else data
    rows_of: dict[str, list[int]] = {}
    for row, video in enumerate(table.column("video")):
        rows_of.setdefault(video, []).append(row)
    starts, ends = table.column("start_s"), table.column("end_s")
    middles = [_middle(start, end) for start, end in zip(starts, ends, strict=True)]

    def one(video: str) -> list[str] | VideoError:
        try:
            return _stills(_source(video, folder), [middles[row] for row in rows_of[video]])
        except VideoError as error:
            return VideoError(error.path, error.reason)  # without the frames of its traceback

    found: list[str | None] = [None] * len(table)
    problems = list[VideoError]()
    for done, (video, stills) in enumerate(_side_by_side(one, list(rows_of)), 1):
        if isinstance(stills, VideoError):
            problems.append(stills)
        else:
            for row, still in zip(rows_of[video], stills, strict=True):
                found[row] = still
        on_video(done, len(rows_of))
    return Pictures(found, problems)


def _middle(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else (start + end) / 2


def _source(video: str, folder: Path) -> Source:
    """What a row names as its video."""
    name = unescape(video)
    return name if "://" in name else folder / name


def _stills(video: Source, seconds: Sequence[float | None]) -> list[str]:
    """A picture a moment; of None, where times are unknown, the middle one."""
    with open_video(video) as opened:
        numbers = [_frame_at(opened, moment) for moment in seconds]
        clip_CTHW = opened.read(numbers, SHORT_SIDE)
    return [picture_uri(image_CHW) for image_CHW in clip_CTHW.unbind(1)]


def _frame_at(video: Video, moment: float | None) -> int:
    """The number of the frame that is shown at a moment."""
    if moment is None or video.seconds(0) is None:
        return video.num_frames // 2
    low, high = 0, video.num_frames
    while high - low > 1:
        middle = (low + high) // 2
        if (video.seconds(middle) or 0.0) <= moment:
            low = middle
        else:
            high = middle
    return low


def _side_by_side(
    work: Callable[[str], list[str] | VideoError], videos: Sequence[str]
) -> Iterator[tuple[str, list[str] | VideoError]]:
    """Each video and its result, in order."""
    pool = ThreadPoolExecutor(max_workers=cores())
    try:
        yield from zip(videos, pool.map(work, videos), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)
