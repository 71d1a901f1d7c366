"""Timelines on Ray: a piece is a group of windows that go through the engine together, as on one machine.

Dimensions: N windows, V views, C 3 colours, T frames, S pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from timesformer.data.lists import LabelledVideo
from timesformer.errors import VideoError
from timesformer.inference.predictor import Predictor
from timesformer.inference.rows import Row
from timesformer.inference.timeline import TimelineOptions, row_of, score_windows, smooth_scores
from timesformer.inference.timeline_file import write_parquet
from timesformer.scale.work import About, Piece, Result, Work, about_model
from timesformer.video.part import check_part, length_of
from timesformer.video.source import Source, open_video
from timesformer.video.video import Video
from timesformer.video.views import window_views
from timesformer.video.windows import ROUNDING, Window, check_grid, timeline_grid

WHOLE = TimelineOptions()


@dataclass(frozen=True)
class Timeline(Work):
    """Rows of `timesformer timeline`; see `TimelineJob`."""

    name: ClassVar[str] = "timeline"
    options: TimelineOptions = WHOLE
    scores: bool = False

    def check(self) -> None:
        check_part(self.options.start, self.options.end)
        check_grid(self.options.window, self.options.stride)

    def made_with(self, about: About) -> dict[str, Any]:
        return {**self.options._asdict(), "scores": self.scores}

    def describe(self, predictor: Predictor) -> About:
        self.options.check(predictor.engine, predictor.preprocessing)
        return about_model(predictor)._replace(shape=(len(predictor.labels),))

    def read(self, about: About, source: Source | LabelledVideo, cells: dict[str, str]) -> Iterator[Piece]:
        assert not isinstance(source, LabelledVideo)
        with open_video(source) as video:
            length_of(video)
            found, number = self._windows(about, video)
            kept: list[tuple[Window, Tensor]] = []
            try:
                for _, members in groupby(found, key=lambda one: number(one[0])):
                    for member in members:
                        kept.append(member)  # noqa: PERF402  what is there when it raises is kept
                    yield _group(kept, whole=True)
                    kept = []
            except VideoError:
                if kept:
                    yield _group(kept, whole=False)
                raise

    def _windows(self, about: About, video: Video) -> tuple[Iterator[tuple[Window, Tensor]], Any]:
        options, shape, preprocessing = self.options, about.clip_shape, about.preprocessing
        length, stride = timeline_grid(options.window, options.stride, shape, preprocessing, video.fps)
        found = window_views(
            video, shape, preprocessing, window=length, stride=stride, start=options.start, end=options.end
        )
        begin = options.start or 0.0
        return found, lambda window: int((window.start - begin) / stride + ROUNDING) // about.views

    def compute(self, predictor: Predictor, pieces: Sequence[Piece]) -> Iterator[Result]:
        for facts, views_VCTSS in pieces:
            windows = [Window(**one) for one in facts["windows"]]
            parts = views_VCTSS.split(facts["counts"])
            given = _until(zip(windows, parts, strict=True), facts["whole"])
            scores = [scores_K for _, scores_K in _as_far(score_windows(predictor.engine, given, lambda window: 0))]
            scores_NK = torch.stack(scores).numpy() if scores else np.empty((0, len(predictor.labels)), np.float32)
            yield Result(facts, scores_NK)

    def rows(
        self, about: About, name: str, cells: dict[str, str], results: Sequence[Result], problem: str | None
    ) -> list[Row]:
        scored = [
            (Window(**window), torch.from_numpy(scores_K.copy()))
            for facts, scores_NK in results
            if scores_NK is not None
            for window, scores_K in zip(facts["windows"], scores_NK, strict=False)
        ]
        smoothed = _as_far(smooth_scores(_until(scored, problem is None), self.options.smooth))
        found = [row_of(name, window, scores_K, about.labels) for window, scores_K in smoothed]
        rows = [row.as_dict(scores=self.scores) for row in found]
        if problem is None and not rows:
            problem = "no frame appears in any of its windows"
        return rows if problem is None else [*rows, {"video": name, "problem": problem}]

    def write(self, about: About, columns: Sequence[str], rows: Iterable[Row], file: Path) -> None:
        write_parquet(rows, about.labels if self.scores else (), file)


class _Ended(Exception):  # noqa: N818
    """A stream of windows ends here since its video cannot be read any further."""


def _until(items: Iterable[Any], whole: bool) -> Iterator[Any]:
    """The items, and an error after them where the video ends with one: what is still on its way then is lost, as in a
    timeline on one machine."""
    yield from items
    if not whole:
        raise _Ended


def _as_far(items: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from items
    except _Ended:
        return


def _group(members: list[tuple[Window, Tensor]], *, whole: bool) -> Piece:
    windows = [window._asdict() for window, _ in members]
    counts = [len(views) for _, views in members]
    return Piece({"windows": windows, "counts": counts, "whole": whole}, torch.cat([views for _, views in members]))
