"""Segments as subtitles and JSON: what is written, to the last character, and what FFmpeg reads of it."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from timesformer.errors import VideoError
from timesformer.inference.segment_files import VideoSegments, write_json, write_srt, write_vtt
from timesformer.inference.segments import Segment

SEGMENTS = (
    Segment(0.0, 1.9996, "wave", 0.876, 0.99),
    Segment(59.9999, 3725.25, "sit <-> stand\n& walk --> on", 0.5, 0.5),
)


def test_vtt(tmp_path: Path) -> None:
    write_vtt(SEGMENTS, tmp_path / "a.vtt")
    assert (tmp_path / "a.vtt").read_text() == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:02.000\nwave 0.88\n\n"
        "00:01:00.000 --> 01:02:05.250\nsit &lt;-&gt; stand &amp; walk --&gt; on 0.50\n"
    )
    write_vtt([], tmp_path / "none.vtt")
    assert (tmp_path / "none.vtt").read_text() == "WEBVTT\n"


def test_srt(tmp_path: Path) -> None:
    write_srt(SEGMENTS, tmp_path / "a.srt")
    assert (tmp_path / "a.srt").read_text() == (
        "1\n00:00:00,000 --> 00:00:02,000\nwave 0.88\n\n"
        "2\n00:01:00,000 --> 01:02:05,250\nsit <-> stand & walk --> on 0.50\n"
    )
    write_srt([], tmp_path / "none.srt")
    assert (tmp_path / "none.srt").read_text() == ""


@pytest.mark.parametrize(("write", "name"), [(write_vtt, "a.vtt"), (write_srt, "a.srt")])
def test_players_read_them(tmp_path: Path, write: object, name: str) -> None:
    write(SEGMENTS, tmp_path / name)  # type: ignore[operator]
    with av.open(str(tmp_path / name)) as container:
        (stream,) = container.streams
        packets = [packet for packet in container.demux(stream) if packet.size]
    spans = [
        (float(packet.pts * packet.time_base), float((packet.pts + packet.duration) * packet.time_base))
        for packet in packets
    ]
    assert spans == [(0, 2), (60, 3725.25)]
    assert bytes(packets[0]) == b"wave 0.88"


def test_json(tmp_path: Path) -> None:
    videos = [VideoSegments("a.mp4", SEGMENTS[:1]), VideoSegments("b.mp4", [], VideoError("b.mp4", "no such file"))]
    write_json(videos, tmp_path / "a.json")
    segment = {"start_s": 0.0, "end_s": 1.9996, "label": "wave", "mean_score": 0.876, "peak_score": 0.99}
    assert json.loads((tmp_path / "a.json").read_text()) == [
        {"video": "a.mp4", "segments": [segment]},
        {"video": "b.mp4", "segments": [], "problem": "no such file"},
    ]


def test_labels_that_are_not_utf_8(tmp_path: Path) -> None:
    odd = [Segment(0, 1, "gauch\udce9", 0.5, 0.5)]
    for write, name in ((write_vtt, "a.vtt"), (write_srt, "a.srt")):
        write(odd, tmp_path / name)
        assert r"gauch\udce9 0.50" in (tmp_path / name).read_text("utf-8")
    write_json([VideoSegments("\udce9.mp4", odd)], tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))[0]["video"] == "\udce9.mp4"
