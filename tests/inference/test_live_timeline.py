"""A timeline of a live stream: the rows of the same frames in a file; what is kept where it is lost."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import timesformer
from classifiers import classifier
from streams import PATIENT, Clock, Send, piped, served
from timesformer.config import Preprocessing, Sampling
from timesformer.errors import EngineError, SettingError, VideoError
from timesformer.inference.live import LiveReport, LiveTimeline
from timesformer.inference.live_job import LiveJob
from timesformer.inference.predictor import Predictor
from timesformer.inference.timeline import TimelineOptions, WindowRow
from timesformer.inference.timeline_file import TimelineFile
from timesformer.video.live import LiveVideo
from timesformer.weights.classifier import Classifier
from videos import write

X264 = {"crf": "12", "preset": "veryfast", "g": "12", "bf": "2"}


@pytest.fixture
def wide_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers here send faster than any camera."""
    monkeypatch.setattr("timesformer.inference.live.QUEUE", 1000)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 frames, 25 a second."""
    return write(tmp_path_factory.mktemp("live") / "a.ts", 120, options=X264)


def predictor(**sampling: Any) -> Predictor:
    model = classifier()
    preprocessing = Preprocessing(sampling=Sampling(rate=4, **sampling), test_crops=3)
    net = Classifier(model.model, preprocessing, model.labels)
    return timesformer.load(net, device="cpu", engine="eager", precision="fp32")


def assert_same(found: list[WindowRow], expected: list[WindowRow]) -> None:
    assert [row[1:6] for row in found] == [row[1:6] for row in expected]  # start, end, padded, last, label
    for one, other in zip(found, expected, strict=True):
        assert one.scores == pytest.approx(other.scores, rel=0, abs=1e-5)


@pytest.mark.parametrize(
    ("sampling", "how"),
    [
        ({}, {}),  # windows of 16 frames
        ({"fps": 30}, {"stride": 0.3}),
        ({"method": "segments"}, {"window": 1.0, "stride": 0.37}),
        ({"method": "cover"}, {"window": 1.3, "stride": 2}),
        ({}, {"window": 9}),  # padded
        ({}, {"window": 0.6, "smooth": 0.7}),
    ],
)
def test_rows_are_those_of_the_file(recording: Path, sampling: Any, how: Any) -> None:
    net = predictor(**sampling)
    with piped(recording.read_bytes()) as pipe, LiveVideo(pipe, limits=PATIENT) as live:
        timeline = LiveTimeline(net, live, TimelineOptions(**how))
        found = list(timeline.rows())
        report = timeline.report()
    assert_same(found, list(net.timeline(recording, **how)))
    assert (report.windows, report.dropped, report.damaged, report.reconnections) == (len(found), 0, 0, 0)
    if not found[0].padded:
        assert report.latency is not None
        assert 0 < report.latency[0] <= report.latency[1] < 60


def test_end_is_where_a_file_is_cut(recording: Path) -> None:
    net = predictor()
    with piped(recording.read_bytes()) as pipe, LiveVideo(pipe, limits=PATIENT) as live:
        found = list(LiveTimeline(net, live, TimelineOptions(window=0.5, end=2.2)).rows())
    assert_same(found, list(net.timeline(recording, window=0.5, end=2.2)))
    assert found[-1].last


@pytest.mark.parametrize("frames", [60, 61, 90])  # the stream ends with the last frame of the timeline, and later
def test_end_between_two_frames_is_the_end(tmp_path: Path, frames: int) -> None:
    """At 30000 / 1001 frames a second no frame appears at 2 s."""
    path = write(tmp_path / "ntsc.ts", frames, options=X264, rate=Fraction(30000, 1001))
    net = predictor()
    with piped(path.read_bytes()) as pipe, LiveVideo(pipe, limits=PATIENT) as live:
        found = list(LiveTimeline(net, live, TimelineOptions(window=1, stride=1, end=2)).rows())
    assert_same(found, list(net.timeline(path, window=1, stride=1, end=2)))
    assert [(row.start, row.end) for row in found] == [(0, 1), (1, 2)]


def test_a_window_is_given_before_the_next_one_has_come(recording: Path, wide_queue: None) -> None:
    """The server sends the second half only when the first windows are there."""
    content, go_on = recording.read_bytes(), threading.Event()

    def halting(send: Send) -> None:
        send(content[: len(content) // 2])
        assert go_on.wait(120)
        send(content[len(content) // 2 :])

    net = predictor()
    with served(halting) as url, LiveVideo(url, limits=PATIENT) as live:
        windows = LiveTimeline(net, live, TimelineOptions(window=0.4)).rows()
        found = [next(windows) for _ in range(8)]
        go_on.set()
        found += [next(windows) for _ in range(8)]
    assert_same(found, list(net.timeline(recording, window=0.4))[:16])


def test_all_rows_of_what_came_are_there_before_the_error(
    recording: Path, wide_queue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the last one, which ends with the last frame that came."""
    clock = Clock(monkeypatch)
    net = predictor()
    found: list[WindowRow] = []
    with served(recording.read_bytes(), over=clock.skip) as url, LiveVideo(url, limits=PATIENT) as live:
        timeline = LiveTimeline(net, live, TimelineOptions(window=0.5, stride=0.3))
        with pytest.raises(VideoError, match="did not come back within 120 seconds"):
            found.extend(timeline.rows())
    assert_same(found, list(net.timeline(recording, window=0.5, stride=0.3)))
    assert found[-1].last


def test_a_slow_engine_loses_frames_and_says_so(recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of the first window take until the stream is over: 64 frames may wait, the others are dropped. What comes
    before that window is scored is less than may wait, however late its frames are taken."""
    asked, over = threading.Event(), threading.Event()
    net = predictor()
    real = net.engine.__class__.__call__

    def slow(self: Any, clips: Tensor) -> Tensor:
        asked.set()
        assert over.wait(120)
        return real(self, clips)

    def play(send: Send) -> None:
        content = recording.read_bytes()
        early = int(len(content) * 0.4) // 188 * 188  # 188 bytes are a packet of MPEG-TS
        send(content[:early])
        assert asked.wait(120)
        send(content[early:])

    monkeypatch.setattr(net.engine.__class__, "__call__", slow)
    with served(play, over=over.set) as url, LiveVideo(url, limits=PATIENT) as live:
        timeline = LiveTimeline(net, live, TimelineOptions(window=0.4))
        windows = timeline.rows()
        found = [next(windows) for _ in range(4)]
        report = timeline.report()
    assert report.dropped == 64
    assert [row.start for row in found[:3]] == [0, 0.2, 0.4]  # of frames 0 to 10
    assert found[3].end > 75 / 25  # from frame 75 on all are there again


def test_what_a_report_says() -> None:
    assert str(LiveReport(12, (0.1234, 0.5), 3, 0, 1)) == (
        "12 windows, latency 0.12 s (p50), 0.50 s (p95); 3 frames dropped, 1 reconnection"
    )
    assert str(LiveReport(1, None, 0, 2, 0)) == "1 windows; 0 frames dropped, 2 damaged, 0 reconnections"


def test_settings_that_cannot_be(recording: Path) -> None:
    net = predictor(method="segments")
    with piped(recording.read_bytes()) as pipe, LiveVideo(pipe, limits=PATIENT) as live:
        with pytest.raises(SettingError, match=r"window: .*--window"):
            LiveTimeline(net, live)
        for options, because in (
            (TimelineOptions(1, end=0), "end is 0; expected"),
            (TimelineOptions(1, start=1), "start is 1; a live stream begins with its first frame"),
        ):
            with pytest.raises(SettingError, match=because):
                LiveTimeline(net, live, options)


def test_the_file_is_complete_whatever_stops_the_job(recording: Path, tmp_path: Path) -> None:
    """With the rows that there are by then; the next run can begin anew."""
    net, calls = predictor(), 0
    real = net.engine.__class__.__call__

    def failing(self: Any, clips: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise EngineError("out of memory")
        return real(self, clips)

    options = TimelineOptions(window=0.4)
    for name in ("a.jsonl", "a.csv"):
        calls, found = 0, list[Any]()
        with pytest.MonkeyPatch.context() as patch, piped(recording.read_bytes()) as pipe:
            patch.setattr(net.engine.__class__, "__call__", failing)
            with pytest.raises(EngineError, match="out of memory"):
                found.extend(LiveJob(pipe, tmp_path / name, options=options).run(net))
        assert len((tmp_path / name).read_text().splitlines()) == len(found) + (name == "a.csv")
        assert not (tmp_path / f"{name}.part").exists()
    assert len(found) == 2


def test_a_stream_that_was_lost_after_its_last_window_is_resumed(tmp_path: Path) -> None:
    net, job = predictor(), LiveJob("rtsp://camera", tmp_path / "a.csv", options=TimelineOptions(window=0.4))
    window = {"start_s": 0.0, "end_s": 0.4, "padded": False, "last": True, "label": "left", "score": 0.5}
    with TimelineFile(tmp_path / "a.csv", [job.name], resume=False) as file:
        file.start(job._made_with(net))
        for row in (window, {"problem": "lost"}):
            file.add({"video": job.name, **row})
    job = LiveJob("rtsp://camera", tmp_path / "a.csv", options=TimelineOptions(window=0.4), resume=True)
    assert not list(job.run(net))
    assert job.resumed is not None
    assert (job.resumed.videos, job.resumed.windows, job.resumed.unreadable) == (1, 1, 1)
    assert str(job.problem) == "rtsp://camera: the stream was lost; the last row of the file says why"
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 3
