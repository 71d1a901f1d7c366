"""A prediction of many videos, whose rows may go to a file that survives any stop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from timesformer.errors import SettingError
from timesformer.evaluation.evaluate import OnProgress, Progress, ignore
from timesformer.inference.predictor import Answer, Predictor, check_top
from timesformer.inference.row_file import RowFile
from timesformer.inference.rows import Tally
from timesformer.inference.sources import Sources, in_shard, list_sources
from timesformer.video.part import check_part
from timesformer.video.source import source_name


class PredictionJob:
    """Many videos to predict. It can be stopped at any time, by SIGKILL too, and be resumed with the rows that its file
    has; `timesformer predict` is such a job.

    Args:
        videos: any that `Predictor.predict_all` takes.
        file: where the rows go, *.jsonl, *.csv or *.parquet (docs/inference.md); None to keep none.
        names: what the rows call the videos, such as paths as they are listed; what messages call them if not given.
        shard: "I/N", I from 1 to N, for the part of the videos that the SHA-256 of their names puts there.
        resume: go on with the rows of the file, if there are any.
        start, end, whole: as for `Predictor.predict_all`.

    Attributes:
        names: of the videos, those of the shard alone.
        tally: counts the rows, also of those that earlier sessions wrote; all of them when `run` has ended.
        earlier: how many rows earlier sessions wrote.
        complete: whether the file was there with all rows, so that nothing was left to predict.

    Raises SettingError for a file of another suffix, without `resume` for one that exists or has rows of a job that was
    stopped, for what is no shard, for more or fewer names than videos, and for an `end` that is not after the `start`.
    """

    def __init__(
        self,
        videos: Sources,
        file: str | Path | None = None,
        *,
        names: Sequence[str] | None = None,
        shard: str | None = None,
        resume: bool = False,
        start: float | None = None,
        end: float | None = None,
        whole: bool = False,
    ) -> None:
        check_part(start, end)
        self._start, self._end, self._whole = start, end, whole
        sources = list_sources(videos)
        if names is None:
            names = [str(source_name(source)) for source in sources]
        elif len(names) != len(sources):
            raise SettingError(f"names: {len(names)} of {len(sources)} videos; expected one a video")
        ours = in_shard(shard) if shard is not None else None
        chosen = [row for row, name in enumerate(names) if ours is None or ours(name)]
        self.names, self._sources = [names[row] for row in chosen], [sources[row] for row in chosen]
        self._file = None if file is None else RowFile(Path(file), self.names, resume=resume)
        self.tally, self.earlier = Tally(), 0

    @property
    def complete(self) -> bool:
        return self._file is not None and self._file.complete

    def run(
        self, predictor: Predictor, top: int = 5, *, workers: int | None = None, on_progress: OnProgress = ignore
    ) -> Iterator[Answer]:
        """Predict the videos that have no row yet: their answers, in their order, each when its row is in the file.

        It works as far as its answers are asked for; the file appears when the loop over them has come to its end.

        top, workers: as for `Predictor.predict_all`, and the same errors. on_progress: called when the job begins, and
        after each video. Raises SettingError where the rows of the file are damaged, or made with other weights,
        engine, precision, `top`, threshold or videos, and where another process writes to them.
        """
        check_top(top)
        with self._file or nullcontext():
            self.tally = self._begin(predictor, top)
            self.earlier = self.tally.videos
            if self.complete:
                return
            on_progress(Progress(predictor.engine, self.earlier, len(self.names), []))
            answers = predictor.predict_all(
                self._sources[self.earlier :],
                top,
                start=self._start,
                end=self._end,
                whole=self._whole,
                workers=workers,
            )
            for name, found in zip(self.names[self.earlier :], answers, strict=True):
                answer = found._replace(video=name)
                row = answer.as_dict()
                if self._file:
                    self._file.add(row)
                self.tally.add(row)
                yield answer
                problems = [answer.problem] if answer.problem else []
                on_progress(Progress(predictor.engine, self.tally.videos, len(self.names), problems))
            if self._file:
                self._file.end(self.tally)

    def _begin(self, predictor: Predictor, top: int) -> Tally:
        if self._file is None:
            return Tally()
        return self._file.begin(
            weights=predictor.fingerprint,
            engine=predictor.engine.engine,
            precision=predictor.engine.precision,
            top=top,
            classes=len(predictor.labels),
            seen={"start": self._start, "end": self._end, "whole": self._whole or None},
            threshold=predictor.threshold,
        )
