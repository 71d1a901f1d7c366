"""The timeline of a live stream, whose rows may go to a file."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from timesformer.errors import VideoError
from timesformer.inference.live import LiveReport, LiveTimeline, check_start
from timesformer.inference.predictor import Predictor
from timesformer.inference.rows import Row
from timesformer.inference.timeline import TimelineOptions
from timesformer.inference.timeline_file import TimelineFile, WindowCounts
from timesformer.video.live import Limits, LiveVideo
from timesformer.video.live_input import Capture, LiveInput, LiveSource

LIMITS = Limits()  # where none are given


class LiveJob:
    """The timeline of a live stream. Its file is complete wherever the stream, or the loop over the rows, ends: with
    Ctrl-C or an error too, but for a disk too full to make it. Where the process was killed, `resume` completes it.

    Args:
        source, capture, limits: as for `LiveVideo`.
        file: where the rows go, *.jsonl, *.csv or *.parquet; None to keep none.
        options: as for `LiveTimeline`. scores: rows have the scores of all classes.
        resume: where the file has rows already, complete it with these alone: what came since is gone, and times of a
            stream begin anew whenever it is opened, so they could not go on.

    Attributes:
        name: what the rows call the stream.
        report: how it went so far; None before it has started.
        problem: why the stream was lost, if it was.
        resumed: counts of the rows that the file had already, where it was resumed.

    Raises SettingError for what is no live stream, and as `JobFile` does.
    """

    def __init__(
        self,
        source: LiveSource,
        file: str | Path | None = None,
        *,
        capture: Capture = Capture(),  # noqa: B008
        limits: Limits | None = None,
        options: TimelineOptions = TimelineOptions(),  # noqa: B008
        scores: bool = False,
        resume: bool = False,
    ) -> None:
        self._source, self._capture, self._limits = source, capture, limits or LIMITS
        check_start(options)
        self._options, self._scores = options, scores
        self.name = LiveInput(source, capture).name
        self._file = None if file is None else TimelineFile(Path(file), [self.name], resume=resume)
        self._timeline: LiveTimeline | None = None
        self.problem: VideoError | None = None
        self.resumed: WindowCounts | None = None

    @property
    def report(self) -> LiveReport | None:
        return None if self._timeline is None else self._timeline.report()

    def run(
        self, predictor: Predictor, *, finishing: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> Generator[Row, None, None]:
        """The rows, as `WindowRow.as_dict` gives them, each when it is on its way to the file; of a stream that is lost
        a last one of "video" and "problem". None where a file is resumed that has rows.

        finishing: entered while the rows become the file, which takes time for many of them. Raises SettingError as
        `LiveTimeline` and `JobFile.start` do, VideoError for a stream that never starts: then there is no file.
        """
        counts = WindowCounts()
        if self._file:
            self._file.labels = predictor.labels if self._scores else ()
            if self._file.begun:
                self._resume(self._file, predictor, finishing)
                return
        with LiveVideo(self._source, self._capture, self._limits) as live, self._file or nullcontext():
            self._timeline = LiveTimeline(predictor, live, self._options)
            if self._file:
                self._file.start(self._made_with(predictor))
            try:
                for row in self._rows():
                    counts.add(row)
                    if self._file:
                        self._file.add(row)
                    yield row
            except BaseException:  # such as Ctrl-C, a loop that was left, an engine that failed, a full disk
                if self._file:
                    with suppress(OSError), finishing():  # on a full disk the rows may have to stay where they are
                        self._file.end(counts)
                raise
            if self._file:
                with finishing():
                    self._file.end(counts)

    def _resume(
        self, file: TimelineFile, predictor: Predictor, finishing: Callable[[], AbstractContextManager[object]]
    ) -> None:
        with file:
            self.resumed = file.start(self._made_with(predictor))
            if not file.complete:
                with finishing():
                    file.end(self.resumed)
        if self.resumed.unreadable:
            self.problem = VideoError(self.name, "the stream was lost; the last row of the file says why")

    def _rows(self) -> Iterator[Row]:
        assert self._timeline is not None
        try:
            for row in self._timeline.rows():
                yield row.as_dict(scores=self._scores)
        except VideoError as problem:
            self.problem = problem
            yield {"video": self.name, "problem": problem.reason}

    def _made_with(self, predictor: Predictor) -> dict[str, object]:
        engine = predictor.engine
        made = {"weights": predictor.fingerprint, "engine": engine.engine, "precision": engine.precision}
        return {**made, **self._options._asdict(), "scores": self._scores}
