"""What features are computed of: the views of whole videos, or of the windows of each, and what rows say of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from timesformer.config import ClipShape, Data, Preprocessing
from timesformer.data.dataset import UnlabelledViews
from timesformer.data.lists import LabelledVideo
from timesformer.data.loader import testing_loader, testing_workers
from timesformer.errors import VideoError
from timesformer.features.table import Row
from timesformer.inference.listed import ListedVideos
from timesformer.inference.read_ahead import read_streams
from timesformer.settings import make
from timesformer.video.source import open_video
from timesformer.video.views import window_views
from timesformer.video.windows import Window


class Done(NamedTuple):
    """How far the rows are that are there already: as many videos, the last of them up to a window, None where it has
    no more of them."""

    videos: int = 0
    window: int | None = None


class Seen(NamedTuple):
    """A row without its vector, and the views of that; or why the video cannot be read, or not any further."""

    row: Row
    views_VCTSS: Tensor | None
    problem: VideoError | None = None


def whole_videos(
    shape: ClipShape, preprocessing: Preprocessing, videos: ListedVideos, done: Done, workers: int | None
) -> Iterator[Seen]:
    """A row a video, while processes decode those to come."""
    first, sources = done.videos, videos.paths[done.videos :]
    views = UnlabelledViews(sources, shape, preprocessing)
    at_most = testing_workers(workers, len(sources))
    loader = testing_loader(views, 1, make(Data, {"workers": at_most}, "features"))
    try:
        for number, batch in enumerate(loader, first):
            name, source = videos.names[number], videos.sources[number]
            row = {"id": name, "video": name, **videos.cells[number]}
            problem = batch.problems[0] if batch.problems else None
            if problem is None and isinstance(source, LabelledVideo):
                wrong = source.miscounted(batch.seen[0].of)
                problem = None if wrong is None else VideoError(source.path, wrong)
            if problem is not None:
                yield Seen({**row, "problem": problem.reason}, None, problem)
                continue
            frames, seconds = batch.seen[0].of, batch.seen[0].seconds
            facts = _facts(frames, seconds)
            yield Seen({**row, "start_s": 0.0, "end_s": seconds, **facts}, batch.views_VCTSS)
    finally:
        loader.close()


def windows_of_videos(
    shape: ClipShape,
    preprocessing: Preprocessing,
    videos: ListedVideos,
    done: Done,
    workers: int | None,
    window: float,
    stride: float,
) -> Iterator[Seen]:
    """A row a window, while threads decode those to come. `window` of a row is its number in the grid; the one that is
    off the grid has the next one."""
    first = done.videos - (done.window is not None)
    makers = [
        partial(
            _windows, shape, preprocessing, source, window, stride, done.window if number == done.videos - 1 else None
        )
        for number, source in enumerate(videos.sources[first:], first)
    ]
    streams = read_streams(makers, testing_workers(workers, len(makers)))
    for number, stream in enumerate(streams, first):
        name = videos.names[number]
        about: Row = {"video": name, **videos.cells[number]}
        at = -1 if number >= done.videos or done.window is None else done.window
        try:
            for found, facts, views in stream:
                assert found.start is not None
                at = at + 1 if found.last else round(found.start / stride)
                limits = {"start_s": found.start, "end_s": found.end, "padded": found.padded, "last": found.last}
                yield Seen({"id": f"{name}@{_short(found.start)}", **about, **limits, "window": at, **facts}, views)
        except VideoError as error:
            problem = VideoError(error.path, error.reason)  # without the frames of its traceback
            yield Seen({"id": name, **about, "problem": error.reason, "window": at + 1}, None, problem)


def _windows(
    shape: ClipShape, preprocessing: Preprocessing, source: Any, window: float, stride: float, done: int | None
) -> Iterator[tuple[Window, dict[str, Any], Tensor]]:
    """The windows of a video after number `done`, each with what a row says of the video, and its views."""
    with source.open() if isinstance(source, LabelledVideo) else open_video(source) as video:
        facts = _facts(video.num_frames, video.seconds(video.num_frames))
        skip = done or 0  # with the last one that is done: the one that ends with the video may begin inside it
        for found, views in window_views(video, shape, preprocessing, window=window, stride=stride, skip=skip):
            assert found.start is not None
            if done is None or found.last or round(found.start / stride) > done:
                yield found, facts, views


def _facts(frames: int, seconds: float | None) -> dict[str, Any]:
    """What a row says of a video; frames a second are a mean."""
    return {"frames": frames, **({"seconds": seconds, "fps": frames / seconds} if seconds else {})}


def _short(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")
