"""From windows to segments, by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.errors import SettingError
from timesformer.inference.segments import ScoredWindow, Segment, Segmenter, pieces

LABELS = ("a", "b", "idle")


def window(start: float, end: float, *scores: float) -> ScoredWindow:
    return ScoredWindow(start, end, np.array(scores, np.float32))


def seconds(text: str, length: float = 1.0, score: float = 0.8) -> list[ScoredWindow]:
    """Windows side by side, a letter each: its class has the score, "." is idle."""
    rest = (1 - score) / 2
    numbers = ["ab.".index(letter) for letter in text]
    scores = [[score if one == number else rest for one in range(3)] for number in numbers]
    return [window(i * length, (i + 1) * length, *row) for i, row in enumerate(scores)]


def found(windows: list[ScoredWindow], **rules: object) -> list[tuple[float, float, str]]:
    return [segment[:3] for segment in Segmenter(LABELS, **rules).segments(windows)]  # type: ignore[arg-type]


def test_a_moment_has_the_mean_of_the_windows_that_cover_it() -> None:
    """Three of 4 s, 2 s apart, the last one 1 s before the grid's next: it ends with the video."""
    windows = [window(0, 4, 0.9, 0.1), window(2, 6, 0.5, 0.5), window(3, 7, 0.1, 0.9)]
    expected = [
        (0, 2, 0.9),
        (2, 3, (0.9 + 0.5) / 2),
        (3, 4, (0.9 + 0.5 + 0.1) / 3),
        (4, 6, (0.5 + 0.1) / 2),
        (6, 7, 0.1),
    ]
    parts = list(pieces(windows))
    assert [(part.start, part.end) for part in parts] == [row[:2] for row in expected]
    assert [part.scores_K[0] for part in parts] == pytest.approx([row[2] for row in expected])
    assert [part.scores_K.sum() for part in parts] == pytest.approx([1] * 5)


def test_the_picture_of_the_module() -> None:
    windows = [window(0, 2, 0.9, 0.1), window(1, 3, 0.2, 0.8)]
    a, b = Segmenter(("A", "B")).segments(windows)
    assert a[:3] == (0, 2, "A")
    assert b[:3] == (2, 3, "B")
    assert (a.mean_score, a.peak_score, b.mean_score) == pytest.approx((0.725, 0.9, 0.8))


def test_a_long_window_among_short_ones() -> None:
    """Ends need not come in the order of starts."""
    parts = list(pieces([window(0, 10, 1.0), window(1, 2, 0.0), window(5, 6, 0.0)]))
    assert [(part.start, part.end, part.scores_K[0]) for part in parts] == [
        (0, 1, 1.0),
        (1, 2, 0.5),
        (2, 5, 1.0),
        (5, 6, 0.5),
        (6, 10, 1.0),
    ]


def test_what_no_window_covers_is_of_no_class() -> None:
    windows = [window(1, 2, 0.9, 0.1, 0), window(5, 6, 0.9, 0.1, 0)]
    assert [part[:2] for part in pieces(windows)] == [(1, 2), (5, 6)]
    assert found(windows) == [(1, 2, "a"), (5, 6, "a")]
    assert found([]) == []


def test_borders_that_differ_by_rounding_are_one() -> None:
    stride, length = 0.1, 0.3
    windows = [window(k * stride, k * stride + length, 1.0, 0.0) for k in range(40)]
    assert len({one.start for one in windows} | {one.end for one in windows}) > 43  # 0.30000000000000004
    assert len(list(pieces(windows))) == 42


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12), st.integers(0, 8)), min_size=1, max_size=12).map(sorted)
)
def test_pieces_against_every_moment(given: list[tuple[int, int, int]]) -> None:
    """The mean at the middle of every quarter of a second, of windows of quarters."""
    windows = [window(start / 4, (start + length) / 4, score / 8) for start, length, score in given]
    expected = {}
    for quarter in range(60):
        covering = [score / 8 for start, length, score in given if start <= quarter < start + length]
        if covering:
            expected[quarter] = sum(covering) / len(covering)
    parts = list(pieces(windows))
    seen = {
        quarter: part.scores_K[0] for part in parts for quarter in range(round(4 * part.start), round(4 * part.end))
    }
    assert seen == pytest.approx(expected)
    assert all(before.end <= after.start for before, after in pairwise(parts))


def test_scores_of_a_segment_are_weighted_by_time() -> None:
    windows = [window(0, 1, 0.6, 0.2, 0.2), window(1, 4, 0.9, 0.1, 0), window(4, 5, 0.1, 0.8, 0.1)]
    first, second = Segmenter(LABELS).segments(windows)
    assert first == Segment(0, 4, "a", pytest.approx((0.6 + 3 * 0.9) / 4), pytest.approx(0.9))
    assert second == Segment(4, 5, "b", pytest.approx(0.8), pytest.approx(0.8))
    assert first.as_dict() == {"start_s": 0, "end_s": 4, "label": "a", "mean_score": 0.825, "peak_score": 0.9}


def test_threshold_and_background() -> None:
    windows = seconds("aa..bb")
    assert found(windows) == [(0, 2, "a"), (2, 4, "idle"), (4, 6, "b")]
    assert found(windows, background=["idle"]) == [(0, 2, "a"), (4, 6, "b")]
    assert found(windows, background=["idle", "a"]) == [(4, 6, "b")]
    weak = [*seconds("aa"), window(2, 3, 0.4, 0.3, 0.3), *(one._replace(start=3, end=4) for one in seconds("a"))]
    assert found(weak) == [(0, 4, "a")]
    assert found(weak, threshold=0.5) == [(0, 2, "a"), (3, 4, "a")]
    equal = [window(0, 1, 0.5, 0.25, 0.25)]
    assert found(equal, threshold=0.5) == [(0, 1, "a")]  # at the threshold is not below it
    assert found(equal, threshold=0.51) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aaaabaaaa", [(0, 9, "a")]),  # the dropped segment no longer parts its neighbours
        ("aaaabbbb", [(0, 4, "a"), (4, 8, "b")]),
        ("aaaa.aaaa", [(0, 9, "a")]),  # nothing, for less than the minimum
        ("aaaa..aaaa", [(0, 4, "a"), (6, 10, "a")]),  # for no less than it
        ("aaaabab.aaa", [(0, 4, "a"), (8, 11, "a")]),
        ("aab.aa", [(0, 2, "a"), (4, 6, "a")]),
        ("aa.bbb", [(0, 2, "a"), (3, 6, "b")]),  # segments keep their ends
        ("b.a.b", []),
        ("aabbaa", [(0, 2, "a"), (2, 4, "b"), (4, 6, "a")]),  # as long as the minimum is not shorter
    ],
)
def test_minimum_length(text: str, expected: list[tuple[float, float, str]]) -> None:
    assert found(seconds(text), background=["idle"], min_length=2) == expected
    tenths = [(start / 10, end / 10, label) for start, end, label in expected]
    for segment, wanted in zip(
        found(seconds(text, 0.1), background=["idle"], min_length=0.2), tenths, strict=True
    ):  # 0.1 + 0.2 is not 0.3
        assert segment == (pytest.approx(wanted[0]), pytest.approx(wanted[1]), wanted[2])


def test_the_score_of_a_joined_segment_is_of_the_time_it_won() -> None:
    (segment,) = Segmenter(LABELS, min_length=2, background=["idle"]).segments(seconds("aabaaa"))
    assert segment == Segment(0, 6, "a", pytest.approx(0.8), pytest.approx(0.8))


def test_segments_come_as_soon_as_they_are_known() -> None:
    taken = []

    def windows() -> object:
        for one in seconds("aabbabababab"):
            taken.append(one)
            yield one

    stream = Segmenter(LABELS).segments(windows())  # type: ignore[arg-type]
    assert next(stream)[:3] == (0, 2, "a")
    assert len(taken) == 6  # that b is whole is known then


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"threshold": 1.5}, "threshold is 1.5; expected a score between 0 and 1"),
        ({"threshold": float("nan")}, "threshold is nan; expected a score between 0 and 1"),
        ({"min_length": -1}, "min-length is -1; expected seconds, at least 0"),
        ({"min_length": float("inf")}, "min-length is inf; expected seconds, at least 0"),
        ({"background": ["rest"]}, "background is rest; expected one of the classes a, b, idle"),
        ({"background": ["a", "b", "idle"]}, "background: all classes; expected at least one that is not"),
    ],
)
def test_rules_that_are_not_allowed(rules: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError) as raised:
        Segmenter(LABELS, **rules)  # type: ignore[arg-type]
    assert str(raised.value) == message


def test_a_background_class_may_be_composed_otherwise() -> None:
    assert Segmenter(("caf\u00e9", "b"), background=["cafe\u0301"]).background == ("caf\u00e9",)
