"""Times of a live stream's frames, against examples worked by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest

from timesformer.video.clock import Clock

TENTH = Fraction(1, 10)


def test_time_stamps_count_from_the_first() -> None:
    clock = Clock(by_arrival=True)
    assert [clock(pts, TENTH, arrived, 10) for pts, arrived in ((70, 5.0), (71, 5.4), (73, 5.4))] == [0, 0.1, 0.3]


def test_of_a_pipe_they_follow_each_other() -> None:
    """Whenever the frames come, and however far the time stamps jump ahead."""
    clock = Clock(by_arrival=False)
    stamps = ((7, 0.0), (8, 9.0), (2, 99.0), (3, 99.0), (3, 99.0), (903, 99.0))
    assert [clock(pts, TENTH, arrived, 5) for pts, arrived in stamps] == pytest.approx([0, 0.1, 0.3, 0.4, 0.6, 90.6])


def test_of_a_network_they_go_on_with_the_gap() -> None:
    """The first frame of each connection appears when it came; the earliest frame tells how late the others were."""
    clock = Clock(by_arrival=True)
    assert [clock(pts, TENTH, arrived, 10) for pts, arrived in ((0, 50.0), (10, 50.5), (11, 54.0))] == [0, 1, 1.1]
    clock.restart()  # a frame of 0 s came at 49.5 s, at the earliest
    assert [clock(pts, TENTH, arrived, 10) for pts, arrived in ((500, 55.0), (501, 55.1))] == pytest.approx([5.5, 5.6])
    clock.restart()
    assert clock(700, TENTH, 55.1, 10) == pytest.approx(5.7)  # not before the last one


def test_of_a_network_a_jump_is_another_stream() -> None:
    clock = Clock(by_arrival=True)
    assert [clock(pts, TENTH, arrived, 10) for pts, arrived in ((0, 50.0), (99, 51.0))] == [0, 9.9]
    assert clock(99 + 99, TENTH, 51.1, 10) == 19.8
    assert clock(99 + 99 + 102, TENTH, 51.1, 10) == pytest.approx(19.9)
    assert clock(99 + 99 + 103, TENTH, 51.1, 10) == pytest.approx(20)
    assert clock(0, TENTH, 60.0, 10) == pytest.approx(60 - (51.1 - 20))


def test_without_time_stamps_frames_come_evenly() -> None:
    for by_arrival in (False, True):
        clock = Clock(by_arrival)
        assert [clock(None, TENTH, 9.0, 3) for _ in range(4)] == [0, 1 / 3, 2 / 3, 1]
    clock = Clock(by_arrival=True)  # without a frame rate either: when they come
    assert [clock(None, None, arrived, None) for arrived in (9.0, 9.5, 11)] == [0, 0.5, 2]
