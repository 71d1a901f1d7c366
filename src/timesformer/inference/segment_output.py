"""What becomes of the rows of timelines when they are complete: segments in a file, and their metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from timesformer.errors import SettingError, VideoError
from timesformer.evaluation.temporal import Detection, TemporalMetrics, measure_segments
from timesformer.evaluation.truth import Truth, read_truth
from timesformer.inference.rows import Row
from timesformer.inference.segment_files import VideoSegments, write_json, write_srt, write_vtt
from timesformer.inference.segments import ScoredWindow, Segmenter, pieces
from timesformer.inference.timeline_file import TimelineFile
from timesformer.video.source import Source, open_video

SUFFIXES = (".json", ".vtt", ".srt", ".png", ".mp4")
OF_ONE_VIDEO = SUFFIXES[1:]

OnFrame = Callable[[float, float], None]  # gets the time of a frame, and how long its video is


class SegmentOptions(NamedTuple):
    """threshold, min_length, background: as for `Segmenter`. truth: a file, see `read_truth`."""

    threshold: float = 0.0
    min_length: float = 0.0
    background: tuple[str, ...] = ()
    truth: Path | None = None

    def as_dict(self) -> dict[str, str | float | None]:
        """What segments depend on, as plain values."""
        background, truth = ", ".join(self.background) or None, None if self.truth is None else str(self.truth)
        return {**self._asdict(), "background": background, "truth": truth}


class SegmentOutput:
    """The segments of some videos, from the rows of their timelines, which have the scores of all classes.

    labels: of the weights. sources: the videos, by the names that rows call them.

    Raises SettingError for options that are not allowed, DataError for ground-truth segments that are invalid.
    """

    def __init__(self, options: SegmentOptions, labels: Sequence[str], sources: Mapping[str, Source]) -> None:
        self.segmenter = Segmenter(
            labels, threshold=options.threshold, min_length=options.min_length, background=options.background
        )
        self._sources, self.truth = sources, None
        if options.truth is not None:
            self.truth = read_truth(options.truth, list(sources), labels, self.segmenter.background)
            self.truth.check_lengths({name: times[-1] for name, times in self._times() if times})

    def videos(self, rows: Iterable[Row]) -> Iterator[VideoSegments]:
        """The segments of each video that has rows."""
        for name, own in groupby(rows, key=lambda row: row["video"]):
            problems: list[VideoError] = []
            yield VideoSegments(name, list(self.segmenter.segments(windows_of(own, problems))), *problems)

    def measure(self, rows: Iterable[Row]) -> TemporalMetrics:
        """The metrics of the segments against the ground truth, without videos that cannot be opened."""
        assert self.truth is not None
        found = [
            Detection(video.video, one.start, one.end, one.label, one.mean_score)
            for video in self.videos(rows)
            for one in video.segments
        ]
        frames = {name: times[:-1] for name, times in self._times() if times}
        return measure_segments(found, [one for one in self.truth.segments if one.video in frames], frames)

    def write(self, rows: Iterable[Row], file: Path, suffix: str, on_frame: OnFrame) -> None:
        """Write the file of a suffix. on_frame: called for each frame of an .mp4. Raises VideoError for one of a video
        that cannot be read to its end, and for any of one video of which nothing can be read."""
        if suffix == ".json":
            write_json(self.videos(rows), file)
        elif suffix == ".png":
            self._draw(list(rows), file)
        else:
            (video,) = self.videos(rows)
            if video.problem is not None and not video.segments:
                raise video.problem
            if suffix == ".mp4":
                self._burn_in(video, file, on_frame)
            else:
                {".vtt": write_vtt, ".srt": write_srt}[suffix](video.segments, file)

    def _draw(self, rows: list[Row], file: Path) -> None:
        from timesformer.inference.timeline_picture import draw_timeline

        problems: list[VideoError] = []
        windows, name = list(windows_of(rows, problems)), rows[0]["video"]
        if problems and not windows:
            raise problems[0]
        draw_timeline(
            list(pieces(windows)),
            list(self.segmenter.segments(windows)),
            self.segmenter.labels,
            file,
            title=name,
            threshold=self.segmenter.threshold,
            truth=None if self.truth is None else self.truth.segments,
        )

    def _burn_in(self, video: VideoSegments, file: Path, on_frame: OnFrame) -> None:
        from timesformer.inference.labelled_video import write_labelled

        source = self._sources[video.video]
        with open_video(source) as opened:
            length = opened.seconds(opened.num_frames) or 0.0
        write_labelled(source, video.segments, file, on_frame=lambda seconds: on_frame(seconds, length))

    def _times(self) -> Iterator[tuple[str, list[float]]]:
        """Of each video, when its frames appear, and when the last one ends; nothing of one that cannot be opened."""
        for name, source in self._sources.items():
            try:
                with open_video(source) as video:
                    yield name, [video.seconds(number) or 0.0 for number in range(video.num_frames + 1)]
            except VideoError:
                yield name, []


class SegmentFile(TimelineFile):
    """The segments of timelines on the way to a file, whose rows are kept until it is written.

    Raises SettingError as `JobFile` does, and for several videos in a file that is of one.
    """

    suffixes = SUFFIXES

    def __init__(self, file: Path, names: Sequence[str], *, resume: bool) -> None:
        super().__init__(file, names, resume=resume)
        if file.suffix in OF_ONE_VIDEO and len(names) != 1:
            raise SettingError(f"{file}: of one video; {len(names)} are given; run it for each of them, or use *.json")

    def prepare(self, output: SegmentOutput, on_frame: OnFrame) -> None:
        """Say what the file is written with."""
        self._output, self._on_frame = output, on_frame

    def write(self, rows: Iterable[Row], file: Path) -> None:
        self._output.write(rows, file, self.file.suffix, self._on_frame)


def windows_of(rows: Iterable[Row], problems: list[VideoError]) -> Iterator[ScoredWindow]:
    """The windows of one video; why it cannot be read, or no further, is added to `problems`."""
    for row in rows:
        if "problem" in row:
            problems.append(VideoError(row["video"], row["problem"]))
        else:
            yield ScoredWindow.of(row["start_s"], row["end_s"], row["scores"])


def printable(metrics: TemporalMetrics, truth: Truth) -> str:
    """Metrics for people."""
    values = [*metrics.mean_average_precision.items()]
    heads = [*(f"{threshold:g}" for threshold, _ in values), "mean"]
    numbers = [*(value for _, value in values), metrics.average or 0.0]
    videos = len({one.video for one in truth.segments})
    lines = [f"{truth.source}: {len(truth.segments)} ground-truth segments in {videos} video{'s' * (videos != 1)}"]
    lines[0] += f"; {truth.others} rows of other videos are not used" if truth.others else ""
    if values:  # there are ground-truth segments
        lines.append("temporal IoU".ljust(24) + "".join(f"{head:>7}" for head in heads))
        lines.append("mean average precision".ljust(24) + "".join(f"{number:7.3f}" for number in numbers))
    if metrics.elsewhere:
        lines.append(f"{metrics.elsewhere} segments of classes that are not in the ground truth do not count there")
    lines.append(f"{'frame accuracy':24}{metrics.frame_accuracy:7.3f}  ({metrics.most_frequent:.3f} if all were alike)")
    return "\n".join(lines)
