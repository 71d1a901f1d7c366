"""What is done with every video, in three places: read in a decoder, computed by a model, written as rows.

`predict`, `features` and `timeline` are the same functions as on one machine; here they are only put together anew:

    decoder     read:    a video -> pieces, each with views and what rows need to know of them
    actor       compute: pieces  -> results, without views
    driver      rows:    all results of a video, or why it cannot be read -> its rows; write: rows -> a file

A timeline is in `timeline_work.py`. Dimensions: V views, C 3 colours, T frames, S pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from timesformer.config import ClipShape, Preprocessing
from timesformer.data.dataset import Sample, UnlabelledViews, collate
from timesformer.data.lists import LabelledVideo
from timesformer.errors import SettingError
from timesformer.features.pooling import choose_pooling, pool_views
from timesformer.features.table import DTYPES, Origin, write_table
from timesformer.inference import rows as prediction_rows
from timesformer.inference.feature_rows import Done, whole_videos, windows_of_videos
from timesformer.inference.listed import ListedVideos
from timesformer.inference.predictor import Predictor, check_top
from timesformer.inference.rows import Row
from timesformer.video.part import check_part
from timesformer.video.seen import Seen
from timesformer.video.source import Source
from timesformer.video.windows import covering

Facts = dict[str, Any]  # plain values, as JSON has them


class Piece(NamedTuple):
    """Views of a video, uint8 (V, 3, T, S, S), and what is known of them."""

    facts: Facts
    views_VCTSS: Tensor


class Result(NamedTuple):
    """What a model made of a piece: plain values, and an array where there is one."""

    facts: Facts
    array: np.ndarray[Any, Any] | None = None


class About(NamedTuple):
    """What the driver and decoders know of the model, which they do not load.

    views: at a time through the engine; bytes: of a view; shape: of the array of a result, where each has one;
    pool: what of the tokens features are.
    """

    fingerprint: str
    engine: str
    precision: str
    description: str
    views: int
    bytes: int
    labels: tuple[str, ...]
    clip_shape: ClipShape
    preprocessing: Preprocessing
    shape: tuple[int, ...] = ()
    pool: str | None = None


@dataclass(frozen=True)
class Work(ABC):
    """One of the three."""

    name: ClassVar[str]

    @abstractmethod
    def check(self) -> None:
        """Raises SettingError for values that are not allowed with any weights."""

    @abstractmethod
    def made_with(self, about: About) -> dict[str, Any]:
        """What rows depend on, beside the model; None for what is not given."""

    @abstractmethod
    def read(self, about: About, source: Source | LabelledVideo, cells: dict[str, str]) -> Iterator[Piece]:
        """The pieces of a video. cells: what its list says of it. Raises VideoError where it cannot be read, or not any
        further."""

    @abstractmethod
    def compute(self, predictor: Predictor, pieces: Sequence[Piece]) -> Iterator[Result]:
        """The results of pieces of any videos."""

    @abstractmethod
    def rows(
        self, about: About, name: str, cells: dict[str, str], results: Sequence[Result], problem: str | None
    ) -> list[Row]:
        """The rows of a video. problem: why it cannot be read, or not any further."""

    @abstractmethod
    def write(self, about: About, columns: Sequence[str], rows: Iterable[Row], file: Path) -> None:
        """Rows as Parquet. columns: of lists."""

    @abstractmethod
    def describe(self, predictor: Predictor) -> About:
        """What others know of the model. Raises SettingError for what these weights do not have."""


@dataclass(frozen=True)
class Prediction(Work):
    """Rows of `timesformer predict`; see `Predictor.predict_all`."""

    name: ClassVar[str] = "predict"
    top: int = 5
    start: float | None = None
    end: float | None = None
    whole: bool = False
    threshold: float = 0.0

    def check(self) -> None:
        check_top(self.top)
        check_part(self.start, self.end)

    def made_with(self, about: About) -> dict[str, Any]:
        seen = {"start": self.start, "end": self.end, "whole": self.whole or None}
        return {"top": self.top, "threshold": self.threshold or None, **seen}

    def describe(self, predictor: Predictor) -> About:
        if self.whole:
            covering(predictor.settings.clip_shape, predictor.preprocessing)
        return about_model(predictor)

    def read(self, about: About, source: Source | LabelledVideo, cells: dict[str, str]) -> Iterator[Piece]:
        assert not isinstance(source, LabelledVideo)
        preprocessing = covering(about.clip_shape, about.preprocessing) if self.whole else about.preprocessing
        sample = UnlabelledViews([source], about.clip_shape, preprocessing, start=self.start, end=self.end)[0]
        if sample.problem is not None:
            raise sample.problem
        assert sample.views_VCTSS is not None
        assert sample.seen is not None
        yield Piece(sample.seen._asdict(), sample.views_VCTSS)

    def compute(self, predictor: Predictor, pieces: Sequence[Piece]) -> Iterator[Result]:
        batches = (collate([Sample(views, 0, 0, seen=Seen(**facts))]) for facts, views in pieces)
        for answer in predictor.answers([""] * len(pieces), batches, self.top):
            yield Result(answer.as_dict())

    def rows(
        self, about: About, name: str, cells: dict[str, str], results: Sequence[Result], problem: str | None
    ) -> list[Row]:
        if problem is not None:
            return [{"video": name, "predictions": [], "problem": problem}]
        return [{**result.facts, "video": name} for result in results]

    def write(self, about: About, columns: Sequence[str], rows: Iterable[Row], file: Path) -> None:
        prediction_rows.write_parquet(rows, file)


@dataclass(frozen=True)
class Features(Work):
    """Rows of `timesformer features`; see `FeatureJob`."""

    name: ClassVar[str] = "features"
    layer: int = -1
    pool: str | None = None
    window: float | None = None
    stride: float | None = None
    dtype: str = "float16"

    def check(self) -> None:
        from timesformer.inference.feature_job import check_windows

        check_windows(self.window, self.stride)
        if self.dtype not in DTYPES:
            raise SettingError(f"dtype {self.dtype}: expected {' or '.join(DTYPES)}")

    def made_with(self, about: About) -> dict[str, Any]:
        windows = {"window": self.window, "stride": self._stride}
        return {"layer": self.layer, "pool": about.pool, "dtype": self.dtype, **windows}

    def describe(self, predictor: Predictor) -> About:
        settings, preprocessing = predictor.settings, predictor.preprocessing
        pooling = choose_pooling(settings, preprocessing, self.layer, self.pool)
        shape, cover = settings.clip_shape, preprocessing.sampling.method == "cover"
        views = (1 if cover else preprocessing.test_clips) * preprocessing.test_crops
        black_VCTSS = torch.zeros(views, 3, shape.frames, shape.side, shape.side, dtype=torch.uint8)
        vector = pool_views(predictor.engine, settings, preprocessing, pooling, black_VCTSS)
        about = about_model(predictor)._replace(fingerprint=predictor.feature_fingerprint)
        return about._replace(shape=tuple(vector.shape), pool=pooling.pool)

    def read(self, about: About, source: Source | LabelledVideo, cells: dict[str, str]) -> Iterator[Piece]:
        videos = ListedVideos([""], [source], tuple(cells), [{}])
        given = (about.clip_shape, about.preprocessing, videos, Done(), 0)
        if self.window is None or self._stride is None:
            found = whole_videos(*given)
        else:
            found = windows_of_videos(*given, self.window, self._stride)
        for row, views_VCTSS, problem in found:
            if problem is not None:
                raise problem
            assert views_VCTSS is not None
            yield Piece(row, views_VCTSS)

    def compute(self, predictor: Predictor, pieces: Sequence[Piece]) -> Iterator[Result]:
        from timesformer.inference.feature_job import vector_of  # not in a decoder, whose start it would double

        pooling = choose_pooling(predictor.settings, predictor.preprocessing, self.layer, self.pool)
        for facts, views_VCTSS in pieces:
            yield Result(facts, vector_of(predictor, pooling, self.dtype, "a video", views_VCTSS))

    def rows(
        self, about: About, name: str, cells: dict[str, str], results: Sequence[Result], problem: str | None
    ) -> list[Row]:
        found = [
            {**facts, **cells, "id": name + facts["id"], "video": name, "vector": vector} for facts, vector in results
        ]
        last = [] if problem is None else [{"id": name, "video": name, **cells, "problem": problem}]
        return found + last

    def write(self, about: About, columns: Sequence[str], rows: Iterable[Row], file: Path) -> None:
        assert about.pool is not None
        origin = Origin(
            about.fingerprint,
            self.layer,
            about.pool,
            about.shape,
            self.dtype,
            about.engine,
            about.precision,
            self.window,
            self._stride,
        )
        write_table(rows, origin, columns, file)

    @property
    def _stride(self) -> float | None:
        return self.window / 2 if self.window is not None and self.stride is None else self.stride


def about_model(predictor: Predictor) -> About:
    """What is known of any model."""
    engine, shape = predictor.engine, predictor.settings.clip_shape
    size = 3 * shape.frames * shape.side**2
    return About(
        predictor.fingerprint,
        engine.engine,
        engine.precision,
        str(engine),
        engine.views,
        size,
        predictor.labels,
        shape,
        predictor.preprocessing,
    )
