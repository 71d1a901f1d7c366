"""Timelines: every row is the prediction of its window, as soon as it is known."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import timesformer
from classifiers import classifier
from timesformer.config import Preprocessing, Sampling
from timesformer.errors import SettingError, VideoError
from timesformer.inference.predictor import Predictor
from timesformer.inference.read_ahead import ReadAhead
from timesformer.inference.timeline import smooth_scores
from timesformer.video.windows import Window
from videos import write

MS = Fraction(1, 1000)
UNEVEN = [number * 40 + (number * number * 7) % 23 for number in range(60)]
SCHEMES = ("space_only", "joint_space_time", "divided_space_time", "sparse_local_global", "axial")


def predictor_of(preprocessing: Preprocessing | None = None, **settings: Any) -> Predictor:
    """Clips of 4 frames that span 8; 0.32 s at 25 frames a second."""
    preprocessing = preprocessing or Preprocessing(sampling=Sampling(rate=2))
    return timesformer.load(
        replace(classifier(0, **settings), preprocessing=preprocessing), "cpu", engine="eager", precision="fp32"
    )


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames of variable frame rate, from 5 s on by the file's clock."""
    path = tmp_path_factory.mktemp("videos") / "uneven.mkv"
    times = [5000 + time for time in UNEVEN]
    return write(path, 60, options={"preset": "veryfast", "g": "12"}, times=times, time_base=MS)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_row_is_the_prediction_of_its_window(scheme: str, uneven: Path) -> None:
    predictor = predictor_of(scheme=scheme, position="space" if scheme == "space_only" else "space_time")
    rows = list(predictor.timeline(uneven, window=0.5, stride=0.2))
    assert [row.start for row in rows[:-1]] == [round(0.2 * k, 6) for k in range(len(rows) - 1)]
    assert [row.last for row in rows] == [False] * (len(rows) - 1) + [True]
    for row in rows:
        scores = predictor.scores(uneven, start=row.start, end=row.end)
        found = torch.tensor([row.scores[label] for label in predictor.labels])
        torch.testing.assert_close(found, scores, atol=1e-5, rtol=0)
        (best,) = predictor.predict(uneven, 1, start=row.start, end=row.end)
        assert (row.label, row.score) == (best.label, pytest.approx(best.score, abs=1e-5))


def test_the_default_window_is_what_a_clip_spans(tmp_path: Path) -> None:
    path = write(tmp_path / "even.mp4", 40)
    rows = list(predictor_of().timeline(path))
    assert [(row.start, row.end) for row in rows[:3]] == [(0, 0.32), (0.16, 0.48), (0.32, 0.64)]
    assert rows[-1].end == 1.6
    assert not any(row.padded for row in rows)
    whole = predictor_of().scores(path, whole=True)
    mean = torch.tensor([list(row.scores.values()) for row in rows[::2]]).mean(0)
    torch.testing.assert_close(mean, whole, atol=1e-5, rtol=0)
    with pytest.raises(SettingError, match=r"do not say how long their training videos were; .*--window"):
        predictor_of(Preprocessing(sampling=Sampling(method="segments"))).timeline(path)
    known = Preprocessing(sampling=Sampling(method="segments"), window=0.8)
    rows = list(predictor_of(known).timeline(path))
    assert [(row.start, row.end) for row in rows] == [(0, 0.8), (0.4, 1.2), (0.8, 1.6)]


def test_a_video_shorter_than_the_window(tmp_path: Path) -> None:
    path = write(tmp_path / "short.mp4", 10)
    (row,) = predictor_of().timeline(path, window=2.0)
    assert (row.start, row.end, row.padded, row.last) == (0, 0.4, True, False)
    assert row.score == pytest.approx(predictor_of().predict(path, 1)[0].score, abs=1e-5)
    assert row.as_dict() == {
        "video": str(path),
        "start_s": 0.0,
        "end_s": 0.4,
        "padded": True,
        "last": False,
        "label": row.label,
        "score": row.score,
    }
    assert row.as_dict(scores=True)["scores"] == row.scores


def test_a_timeline_that_goes_on_has_the_same_numbers(uneven: Path) -> None:
    """To the last bit, wherever in a group it was stopped, smoothed or not."""
    predictor = predictor_of(num_frames=4)
    predictor.engine.views = 4  # groups of four windows, twelve views
    for smooth in (0.0, 0.15, 0.4):
        how = {"window": 0.3, "stride": 0.1, "smooth": smooth}
        rows = list(predictor.timeline(uneven, **how))
        assert len(rows) > 12
        for number in range(0, len(rows), 3):
            after = list(predictor.timeline(uneven, **how, after=rows[number].start))
            assert after == rows[number + 1 :]


def test_after_the_last_window_there_are_none(uneven: Path) -> None:
    assert not list(predictor_of().timeline(uneven, window=0.5, stride=0.2, after=1000.0))
    for after in (-1.0, float("nan"), float("inf")):
        with pytest.raises(SettingError, match=rf"after is {after:g}; expected seconds, 0 or more"):
            predictor_of().timeline("none.mp4", after=after)


def test_scores_are_smoothed_by_the_distance_of_centres() -> None:
    """Windows of 2 s every second, and a last one half a second after them; within 1 s."""
    starts = (0.0, 1.0, 2.0, 3.0, 3.5)
    windows = [Window(0, 0, 0, 0, start, start + 2) for start in starts]
    scored = [(window, torch.tensor([2.0**k, 0.0])) for k, window in enumerate(windows)]
    found = [float(scores[0]) for _, scores in smooth_scores(scored, 1.0)]
    assert found == pytest.approx([1.5, 7 / 3, 14 / 3, 28 / 3, 12])
    assert [window for window, _ in smooth_scores(scored, 1.0)] == windows
    assert [float(scores[0]) for _, scores in smooth_scores(scored, 0.0)] == [1, 2, 4, 8, 16]

    def at_most(number: int) -> Iterator[tuple[Window, Tensor]]:
        yield from scored[:number]
        pytest.fail("asked for more than is needed")

    assert next(smooth_scores(at_most(3), 1.0))[0] == windows[0]  # known once the third is
    assert next(smooth_scores(at_most(1), 0.0))[0] == windows[0]


def test_rows_come_before_the_video_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what reads ahead ends with them."""
    path = write(tmp_path / "long.mp4", 250, options={"preset": "veryfast", "g": "12"})
    decoded: list[int] = []
    from timesformer.video.convert import Converter

    convert = Converter.__call__

    def counted(self: Converter, number: int, frame: Any) -> Tensor:
        decoded.append(number)
        return convert(self, number, frame)

    monkeypatch.setattr(Converter, "__call__", counted)
    predictor = predictor_of()
    predictor.engine.views = 2
    rows = predictor.timeline(path, window=0.32)
    assert next(rows).start == 0
    rows.close()
    assert len(decoded) < 100
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]
    decoded.clear()
    list(predictor.timeline(path, window=0.32))
    assert decoded == list(range(250))


def test_reading_ahead_gives_the_items_and_their_error() -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise VideoError("a.mp4", "damaged")

    found = iter(ReadAhead(items(), 2))
    assert [next(found) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(VideoError, match=r"a\.mp4: damaged"):
        next(found)
    assert list(ReadAhead(iter("abc"), 1)) == ["a", "b", "c"]


def test_settings_that_are_refused_before_anything_is_read() -> None:
    predictor = predictor_of()
    for how, because in (
        ({"stride": 0.0}, "stride is 0; expected seconds, at least 1e-06"),
        ({"window": -1.0}, "window is -1; expected"),
        ({"start": 2.0, "end": 1.0}, "end is 1; expected seconds after the start"),
        ({"smooth": -1.0}, "smooth is -1; expected seconds, 0 or more"),
        ({"smooth": float("nan")}, "smooth is nan; expected"),
    ):
        with pytest.raises(SettingError, match=because):
            predictor.timeline("none.mp4", **how)
    with pytest.raises(VideoError, match="no such file"):
        next(predictor.timeline("none.mp4"))
    with pytest.raises(VideoError, match="its frame rate is unknown"):
        next(predictor.timeline(torch.zeros(3, 9, 40, 40, dtype=torch.uint8)))  # type: ignore[arg-type]


def test_time_stamps_are_those_of_the_file(uneven: Path) -> None:
    """Every frame of a window of one frame length appears in it."""
    rows = list(predictor_of().timeline(uneven, window=0.08, stride=0.04))
    assert all(before.start < after.start for before, after in pairwise(rows))
    assert rows[-1].end == pytest.approx((UNEVEN[-1] + UNEVEN[-1] / 59) / 1000, abs=1e-5)
