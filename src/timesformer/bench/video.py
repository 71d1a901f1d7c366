"""`timesformer bench video`: from video files to the clips of a test, in one process and in workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from timesformer.bench.model import check_counts
from timesformer.bench.timing import Spread
from timesformer.config import ClipShape, Data, Preprocessing
from timesformer.data.dataset import UnlabelledViews
from timesformer.data.loader import testing_loader, testing_workers
from timesformer.errors import DataError, VideoError
from timesformer.inference.sources import find_sources
from timesformer.settings import make
from timesformer.video.convert import ClipWriter
from timesformer.video.source import Source, open_video
from timesformer.video.views import read_views

LONG_ENOUGH = 2.0  # seconds a pass of workers takes at least, by reading few videos repeatedly: each pass begins idle


class Rate(NamedTuple):
    """Seconds of a pass over all videos (median, smallest and largest), and what follows from the median."""

    seconds: Spread
    videos_per_second: float
    clips_per_second: float
    ms_per_clip: float

    @classmethod
    def of(cls, seconds: Sequence[float], videos: int, clips: int) -> Rate:
        """From the seconds of each pass."""
        spread = Spread.of(seconds)
        return cls(spread, videos / spread.median, clips / spread.median, 1e3 * spread.median / clips)


class VideoSpeed(NamedTuple):
    """Speed of reading videos.

    videos       that can be read, and were, in each of `rounds` passes
    clips        of all of them; a clip has `frames` frames of image_size x image_size pixels, and `crops` crops
    alone        in this process
    opening, decoding, resizing, cropping   shares of the time of `alone`: finding the frames of a file; decoding
                 them; scaling and turning the wanted ones into RGB; cutting the crops
    workers, together   number of worker processes, and what they read together; None without workers
    problems     videos that cannot be read
    """

    videos: int
    clips: int
    frames: int
    image_size: int
    crops: int
    rounds: int
    alone: Rate
    opening: float
    decoding: float
    resizing: float
    cropping: float
    workers: int
    together: Rate | None
    problems: tuple[VideoError, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        rates = {
            name: rate and {**rate._asdict(), "seconds": rate.seconds._asdict()}
            for name, rate in (("alone", self.alone), ("together", self.together))
        }
        problems = [{"path": str(problem.path), "reason": problem.reason} for problem in self.problems]
        return {**self._asdict(), **rates, "problems": problems}


class Parts(NamedTuple):
    """Seconds of reading one video, and how many clips it gave."""

    opening: float
    decoding: float
    resizing: float
    cropping: float
    clips: int


def measure_videos(
    places: Sequence[str | Path],
    *,
    frames: int = 8,
    image_size: int = 224,
    sampling: str = "span",
    rate: float = 32,
    clips: int = 1,
    crops: int = 3,
    workers: int | None = None,
    rounds: int = 3,
    on_pass: Callable[[], object] = lambda: None,
) -> VideoSpeed:
    """Read the test clips of all videos, as `timesformer test` and `predict` do: `rounds` passes here, then `rounds`
    in worker processes, after one that starts them.

    places: video files, folders of videos, folders of image frames. frames, image_size, sampling, rate, clips and crops
    as in a recipe; workers: None is one a core; 0 leaves the second half out.
    Raises SettingError for values that are not allowed, DataError where none of the videos can be read.
    """
    check_counts(rounds=rounds)
    check_counts(frames=frames, image_size=image_size)
    shape = ClipShape(frames, image_size)
    values = {"sampling": {"method": sampling, "rate": rate}, "test_clips": clips, "test_crops": crops}
    preprocessing = make(Preprocessing, values, "bench video")
    workers = make(Data, {"workers": workers}, "bench video").workers
    readable: list[Source] = []
    problems, total = [], 0
    for path in find_sources(places):
        try:
            total += read_parts(path, shape, preprocessing).clips
            readable.append(path)
        except VideoError as error:
            problems.append(error)
    if not readable:
        raise DataError(f"none of {len(problems)} videos can be read: {problems[0]}")
    seconds, parts = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        parts += [read_parts(path, shape, preprocessing) for path in readable]
        seconds.append(time.perf_counter() - began)
        on_pass()
    opening, decoding, resizing, cropping = (sum(part[place] for part in parts) for place in range(4))
    whole = opening + decoding + resizing + cropping
    repeats = max(1, math.ceil(LONG_ENOUGH / min(seconds)))
    at_most = testing_workers(workers, len(readable) * repeats)
    number, together = _in_workers(readable * repeats, shape, preprocessing, at_most, rounds, on_pass)
    return VideoSpeed(
        videos=len(readable),
        clips=total,
        frames=frames,
        image_size=image_size,
        crops=crops,
        rounds=rounds,
        alone=Rate.of(seconds, len(readable), total),
        opening=opening / whole,
        decoding=decoding / whole,
        resizing=resizing / whole,
        cropping=cropping / whole,
        workers=number,
        together=Rate.of([taken / repeats for taken in together], len(readable), total) if together else None,
        problems=tuple(problems),
    )


def read_parts(path: Source, shape: ClipShape, preprocessing: Preprocessing) -> Parts:
    """Read the test views of one video, with a stopwatch at each part. Raises VideoError."""
    began = time.perf_counter()
    with (
        open_video(path) as video,
        _stopwatch(ClipWriter, "write") as writing,
        _stopwatch(type(video), "read") as reading,
    ):
        opened = time.perf_counter()
        views_VCTSS = read_views(video, shape, preprocessing)
        whole = time.perf_counter() - opened
    return Parts(
        opened - began,
        reading[0] - writing[0],
        writing[0],
        whole - reading[0],
        len(views_VCTSS) // preprocessing.test_crops,
    )


@contextmanager
def _stopwatch(cls: type, name: str) -> Iterator[list[float]]:
    """Seconds spent in a method, as the only number of a list."""
    spent, original = [0.0], getattr(cls, name)

    def timed(*given: Any) -> Any:
        began = time.perf_counter()
        try:
            return original(*given)
        finally:
            spent[0] += time.perf_counter() - began

    with patch.object(cls, name, timed):
        yield spent


def _in_workers(
    videos: list[Source],
    shape: ClipShape,
    preprocessing: Preprocessing,
    workers: int,
    rounds: int,
    on_pass: Callable[[], object],
) -> tuple[int, list[float]]:
    """Number of workers and the seconds of each pass, the first of which, with their start, does not count; no
    seconds without workers."""
    if workers == 0:
        return 0, []
    loader = testing_loader(UnlabelledViews(videos, shape, preprocessing), 1, Data(workers=workers))
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        for batch in loader:
            if batch.problems:
                raise batch.problems[0]
        seconds.append(time.perf_counter() - began)
        on_pass()
    return loader.num_workers, seconds[1:]
