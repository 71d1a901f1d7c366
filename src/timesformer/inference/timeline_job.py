"""Timelines of many videos, whose rows may go to a file that survives any stop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import NamedTuple

from timesformer.data.layouts import some
from timesformer.errors import SettingError, VideoError
from timesformer.evaluation.temporal import TemporalMetrics
from timesformer.evaluation.truth import Truth
from timesformer.inference.predictor import Predictor
from timesformer.inference.rows import Row
from timesformer.inference.segment_output import SegmentFile, SegmentOptions, SegmentOutput
from timesformer.inference.sources import Sources, list_sources
from timesformer.inference.timeline import TimelineOptions
from timesformer.inference.timeline_file import TimelineFile, WindowCounts
from timesformer.video.part import check_part, length_of
from timesformer.video.source import Source, open_video, source_name
from timesformer.video.windows import check_grid

NONE = SegmentOptions()
SEGMENTS = "*.json, *.vtt, *.srt, *.png or *.mp4"


class TimelineProgress(NamedTuple):
    """How far a job is in a video: its name, seconds of it whose windows have rows, and of how many; resumed_at: where
    in it this session began; problem: why it cannot be read, or no further."""

    video: str
    done: float
    total: float
    resumed_at: float
    problem: VideoError | None = None


class TimelineJob:
    """The timelines of one or more videos. It can be stopped at any time, by SIGKILL too, and be resumed with the rows
    that its file has: that file is then the same, byte for byte, as that of a job that was never stopped.

    Args:
        videos: any that `Predictor.predict_all` takes, each of them once.
        file: where the rows go, *.jsonl, *.csv or *.parquet, or the segments that are made of them: *.json, or of one
            video *.vtt, *.srt, *.png or *.mp4; None to keep none.
        window, stride, start, end, smooth: as for `Predictor.timeline`, of every video.
        scores: rows have the scores of all classes.
        names: what the rows call the videos; what messages call them if not given.
        resume: go on with the rows of the file, if there are any.
        segments: how segments are made, and the ground truth.

    Attributes:
        counts: of the rows, also of those that earlier sessions wrote; of all of them when `run` has ended.
        earlier: how many windows earlier sessions wrote.
        seconds: of video that this session has been through.
        truth, metrics: ground-truth segments and the metrics of the predicted ones, when `run` has ended; None where
            none are given.

    Raises SettingError for values that are not allowed, for a video that comes twice, and as `JobFile` does.
    """

    def __init__(
        self,
        videos: Sources,
        file: str | Path | None = None,
        *,
        window: float | None = None,
        stride: float | None = None,
        start: float | None = None,
        end: float | None = None,
        smooth: float = 0.0,
        scores: bool = False,
        names: Sequence[str] | None = None,
        resume: bool = False,
        segments: SegmentOptions = NONE,
    ) -> None:
        check_part(start, end)
        check_grid(window, stride)
        self._options = TimelineOptions(window, stride, start, end, smooth)
        self._sources = list_sources(videos)
        self.names = [str(source_name(source)) for source in self._sources] if names is None else list(names)
        if len(self.names) != len(self._sources):
            raise SettingError(f"names: {len(self.names)} of {len(self._sources)} videos; expected one a video")
        if twice := [name for name, count in Counter(self.names).items() if count > 1]:
            raise SettingError(f"videos: {some(twice)} more than once; rows would not say which is meant")
        self._file = None if file is None else _open_file(Path(file), self.names, resume)
        self._segments = segments
        self.truth: Truth | None = None
        self.metrics: TemporalMetrics | None = None
        self._scores = scores or self.makes_segments
        self._check_segments()
        self.counts, self.earlier, self.seconds = WindowCounts(), 0, 0.0

    @property
    def complete(self) -> bool:
        """Whether the file is there, with all rows."""
        return self._file is not None and self._file.complete

    @property
    def makes_segments(self) -> bool:
        """Whether the file is of segments, not of windows."""
        return isinstance(self._file, SegmentFile)

    def run(
        self, predictor: Predictor, *, on_progress: Callable[[TimelineProgress], None] = lambda progress: None
    ) -> Iterator[Row]:
        """The rows that are not there yet, as `WindowRow.as_dict` gives them, each when it is in the file; of a video
        that cannot be read, or no further, a last one of "video" and "problem".

        It works as far as its rows are asked for; the file appears when the loop over them has come to its end.
        on_progress: called at the beginning of a video and after each row. Raises SettingError as `JobFile.start` does,
        and for what no video can have.
        """
        self._options.check(predictor.engine, predictor.preprocessing)
        output = self._output(predictor.labels, on_progress)
        with self._file or nullcontext():
            if self._file:
                self._file.labels = predictor.labels if self._scores else ()
                self.counts = self._file.start(self._made_with(predictor))
            self.earlier = self.counts.windows
            if self.complete:
                return
            after = None if self.counts.ended else self.counts.start
            for number in range(self.counts.videos - (not self.counts.ended), len(self.names)):
                for row in self._rows(predictor, self._sources[number], self.names[number], after, on_progress):
                    if self._file:
                        self._file.add(row)
                    self.counts.add(row)
                    yield row
                after = None
            if self._file:
                if output and output.truth:
                    self.truth, self.metrics = output.truth, output.measure(self._file.rows())
                self._file.end(self.counts)

    def _rows(
        self,
        predictor: Predictor,
        source: Source,
        name: str,
        after: float | None,
        on_progress: Callable[[TimelineProgress], None],
    ) -> Iterator[Row]:
        begin = done = total = (self._options.start or 0.0) if after is None else after
        rows = int(after is not None)
        try:
            with open_video(source) as video:
                # Its thread has ended before the video is closed.
                found = predictor.timeline(video, **self._options._asdict(), after=after)
                total = length_of(video) if self._options.end is None else self._options.end
                on_progress(TimelineProgress(name, done, total, begin))
                with closing(found):
                    for row in found:
                        yield row._replace(video=name).as_dict(scores=self._scores)
                        rows, before, done = rows + 1, done, row.end
                        self.seconds += done - before
                        on_progress(TimelineProgress(name, done, total, begin))
            if not rows:
                raise VideoError(name, "no frame appears in any of its windows")
        except VideoError as error:
            yield {"video": name, "problem": error.reason}
            on_progress(TimelineProgress(name, done, total, begin, VideoError(name, error.reason)))

    def _made_with(self, predictor: Predictor) -> dict[str, object]:
        engine = predictor.engine
        made = {"weights": predictor.fingerprint, "engine": engine.engine, "precision": engine.precision}
        segments = self._segments.as_dict() if self.makes_segments else {}
        return {**made, **self._options._asdict(), "scores": self._scores, **segments}

    def _check_segments(self) -> None:
        """Raises SettingError for options of segments where there will be none, and a truth that cannot be used."""
        truth = self._segments.truth
        if self._segments != NONE and truth is None and not self.makes_segments:
            raise SettingError(f"threshold, min-length and background are of segments; expected a file {SEGMENTS}")
        if truth is None:
            return
        if self._file is None:
            raise SettingError(f"truth is {truth}; expected a file of rows or segments too")
        if self.complete:
            raise SettingError(f"truth is {truth}; {self._file.file} is complete: name another file")
        if not self._scores:
            raise SettingError(f"truth is {truth}; rows of all scores are needed for it, or a file {SEGMENTS}")
        if self._options.start is not None or self._options.end is not None:
            raise SettingError(f"truth is {truth}; it is of whole videos, so start and end are not allowed")

    def _output(self, labels: Sequence[str], on_progress: Callable[[TimelineProgress], None]) -> SegmentOutput | None:
        if self._segments.truth is None and not isinstance(self._file, SegmentFile):
            return None
        output = SegmentOutput(self._segments, labels, dict(zip(self.names, self._sources, strict=True)))
        if isinstance(self._file, SegmentFile):
            written = self._file.file.name
            self._file.prepare(
                output, lambda seconds, length: on_progress(TimelineProgress(written, seconds, length, 0.0))
            )
        return output


def _open_file(file: Path, names: Sequence[str], resume: bool) -> TimelineFile:
    if file.suffix not in (*TimelineFile.suffixes, *SegmentFile.suffixes):
        raise SettingError(f"{file}: expected *.jsonl, *.csv or *.parquet for windows, or {SEGMENTS} for segments")
    kind = SegmentFile if file.suffix in SegmentFile.suffixes else TimelineFile
    return kind(file, names, resume=resume)
