"""Features of many videos, to a file that survives any stop (`timesformer.inference.job_file`).

Every vector is computed of its own views alone (`timesformer.features.pooling`), so a job that was killed ends with the
same bytes as one that was not.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from timesformer.errors import DataError, SettingError
from timesformer.evaluation.evaluate import OnProgress, Progress, ignore
from timesformer.features.arrays import array_names
from timesformer.features.pooling import Pooling, choose_pooling, pool_views
from timesformer.features.table import DTYPES, Row
from timesformer.files import as_json
from timesformer.inference.feature_rows import Done, Seen, whole_videos, windows_of_videos
from timesformer.inference.listed import ListedVideos, list_videos
from timesformer.inference.predictor import Predictor
from timesformer.inference.sources import Sources
from timesformer.inference.vector_file import FeatureCounts, VectorFile
from timesformer.video.windows import check_grid


class FeatureJob:
    """Features of many videos, to a file; `timesformer features` is such a job. It can be stopped at any time.

    Args:
        videos: any that `Predictor.predict_all` takes, or `timesformer.inference.listed.list_data` of a data set.
        file: *.parquet, or a folder of arrays, which must not be there yet (docs/features.md).
        layer, pool: which block's tokens, and what is kept of them; see `timesformer.features.pooling`.
        window, stride: seconds of a window, and from one to the next, half a window if not given; a row a window then,
            as a timeline has them (docs/timeline.md). Without, a row a video.
        dtype: "float16" or "float32".
        resume: go on with the rows that are there.

    Attributes: `counts` of all rows, when `run` has ended; `earlier`: videos that earlier sessions had done;
    `complete`: whether the file was there, so that nothing was left to do.

    Raises SettingError for a file of another suffix or that exists, without `resume` for rows of a job that was
    stopped, and for what else has a value that is not allowed.
    """

    def __init__(
        self,
        videos: Sources | ListedVideos,
        file: str | Path,
        *,
        layer: int = -1,
        pool: str | None = None,
        window: float | None = None,
        stride: float | None = None,
        dtype: str = "float16",
        resume: bool = False,
    ) -> None:
        path = Path(file)
        check_windows(window, stride)
        self.videos = videos if isinstance(videos, ListedVideos) else list_videos(videos)
        self.layer, self.pool, self.dtype = layer, pool, dtype
        self.window, self.stride = window, window / 2 if window is not None and stride is None else stride
        if dtype not in DTYPES:
            raise SettingError(f"dtype {dtype}: expected {' or '.join(DTYPES)}")
        if not path.suffix:
            array_names(self.videos.names)
        if not self.videos.names:
            raise SettingError("videos: none; expected at least one")
        twice = [name for name, count in Counter(self.videos.names).items() if count > 1]
        if window is not None and twice:
            raise SettingError(f"{twice[0]}: is listed twice; features of windows need each video once")
        self._file = VectorFile(path, self.videos.names, resume=resume)
        self.counts, self.earlier = FeatureCounts(), 0

    @property
    def complete(self) -> bool:
        return self._file.complete

    def run(
        self, predictor: Predictor, *, workers: int | None = None, on_progress: OnProgress = ignore
    ) -> Iterator[Row]:
        """Compute the rows that are not there yet, in their order, each when it is safe; the last one makes the file.

        It works as far as its rows are asked for. A row has the columns of the file; its `vector` is a numpy array.

        workers: processes that decode; one a core if not given. on_progress: called when the job begins, and after each
        video. Raises SettingError where the rows that are there are damaged, or made with something else, and where
        another process writes to them, and for a layer or pool that the weights do not have; DataError where none of
        the videos can be read.
        """
        pooling = choose_pooling(predictor.settings, predictor.preprocessing, self.layer, self.pool)
        self._predictor = predictor
        with self._file:
            cells = hashlib.sha256(as_json(self.videos.cells).encode()).hexdigest()[:16]
            self.counts = self._file.begin(self._origin(predictor, pooling), self.videos.columns, cells)
            self.earlier = self.counts.videos
            if self.complete:
                return
            total = len(self.videos.names)
            on_progress(Progress(predictor.engine, self.earlier, total, []))
            for row, views_VCTSS, problem in self._seen(workers):
                if views_VCTSS is not None:
                    row["vector"] = vector_of(predictor, pooling, self.dtype, row["id"], views_VCTSS)
                self._file.add(row)
                self.counts.add(row)
                yield row
                on_progress(Progress(predictor.engine, self.counts.videos, total, [problem] if problem else []))
            if self.counts.rows and self.counts.rows == self.counts.unreadable:
                raise DataError(f"none of {self.counts.videos} videos can be read; {self._file.part} says why")
            self._file.end(self.counts)

    def _origin(self, predictor: Predictor, pooling: Pooling) -> dict[str, Any]:
        """What vectors are, but for their shape."""
        made_by = {"engine": predictor.engine.engine, "precision": predictor.engine.precision}
        windows = {"window": self.window, "stride": self.stride}
        return {"model": predictor.feature_fingerprint, **pooling._asdict(), "dtype": self.dtype, **made_by, **windows}

    def _seen(self, workers: int | None) -> Iterator[Seen]:
        """What rows are made of, after those that are there."""
        done = Done(self.counts.videos, self.counts.window)
        shape, preprocessing = self._predictor.settings.clip_shape, self._predictor.preprocessing
        if self.window is None or self.stride is None:
            return whole_videos(shape, preprocessing, self.videos, done, workers)
        return windows_of_videos(shape, preprocessing, self.videos, done, workers, self.window, self.stride)


def vector_of(
    predictor: Predictor, pooling: Pooling, dtype: str, name: str, views_VCTSS: Tensor
) -> np.ndarray[Any, Any]:
    """The vector of some views (`pool_views`). Raises SettingError, naming it, for one with values that are NaN or inf
    as `dtype`."""
    vector = pool_views(predictor.engine, predictor.settings, predictor.preprocessing, pooling, views_VCTSS).numpy()
    with np.errstate(over="ignore"):
        found: np.ndarray[Any, Any] = vector.astype(dtype)
    if not np.isfinite(found).all():
        said = "float16 ends at 65504; expected --dtype float32" if np.isfinite(vector).all() else "check the weights"
        raise SettingError(f"{name}: its features have values that are NaN or inf as {dtype}; {said}")
    return found


def check_windows(window: float | None, stride: float | None) -> None:
    """Raises SettingError as `check_grid` does, and for a stride without a length."""
    if window is None and stride is not None:
        raise SettingError(f"stride is {stride:g}; it requires a window, in seconds")
    check_grid(window, stride)
