"""Segments as files: WebVTT and SRT subtitles of one video, JSON of any number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from timesformer.errors import VideoError
from timesformer.files import as_json, escape, replacing
from timesformer.inference.segments import Segment


class VideoSegments(NamedTuple):
    """The segments of a video, or none and why it cannot be read."""

    video: str
    segments: Sequence[Segment]
    problem: VideoError | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values: {"video": ..., "segments": [...]}, and "problem", the reason, where there is one."""
        row = {"video": self.video, "segments": [segment.as_dict() for segment in self.segments]}
        return row if self.problem is None else {**row, "problem": self.problem.reason}


def write_json(videos: Iterable[VideoSegments], file: Path) -> None:
    """An array with an object for each video, as `VideoSegments.as_dict` gives it."""
    _write(file, as_json([video.as_dict() for video in videos], indent=2) + "\n")


def write_vtt(segments: Iterable[Segment], file: Path) -> None:
    """WebVTT (w3.org/TR/webvtt1): a cue for each segment, of its label and its mean score."""
    cues = [
        f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{_for_vtt(caption(segment))}\n"
        for segment in segments
    ]
    _write(file, "\n".join(["WEBVTT\n", *cues]))


def write_srt(segments: Iterable[Segment], file: Path) -> None:
    """SubRip: a numbered block for each segment, of its label and its mean score."""
    blocks = [
        f"{number}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{caption(segment)}\n"
        for number, segment in enumerate(segments, 1)
    ]
    _write(file, "\n".join(blocks))


def caption(segment: Segment) -> str:
    """What subtitles and videos say of a segment: its label and its mean score, in one line."""
    return f"{' '.join(escape(segment.label).split())} {segment.mean_score:.2f}"


def _write(file: Path, text: str) -> None:
    with replacing(file) as temporary:
        temporary.write_text(text, "utf-8", newline="\n")


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and thousandths."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"


def _for_vtt(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
