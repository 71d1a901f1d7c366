"""When the frames of a live stream appear."""

from __future__ import annotations

import math
from fractions import Fraction

JUMP = 10.0  # seconds that time stamps may run ahead before they are taken for another stream's
UNKNOWN = 1000  # frames a second, where nothing says


class Clock:
    """When frames appear, in seconds after the first one, by their time stamps.

    Where those begin anew, run back or, with `by_arrival`, run far ahead, they go on from the frame before: by the time
    at which the frame came, or for a pipe, where that means nothing, after 1 / fps.
    """

    def __init__(self, by_arrival: bool) -> None:
        self.by_arrival = by_arrival
        self.frames = 0
        self._first: Fraction | None = None  # the time stamp of the frame that appears at `_offset`
        self._offset = 0.0
        self._last = 0.0
        self._zero = math.inf  # when a frame of 0 seconds would have come, had it been as early as the earliest one

    def restart(self) -> None:
        """The next frame is of another connection."""
        self._first = None

    def __call__(self, pts: int | None, time_base: Fraction | None, arrived: float, fps: float | None) -> float:
        """Seconds of the next frame. pts: its time stamp in units of `time_base`. arrived: in seconds of any clock."""
        stamp: Fraction | None = None
        if pts is not None and time_base is not None:
            stamp = pts * time_base
        elif fps:
            stamp = self.frames / Fraction(fps)
        if not self.frames:
            seconds, self._first = 0.0, stamp
        elif stamp is None or self._first is None or not self._follows(self._seconds(stamp), arrived):
            soonest = self._last + 1 / (fps or UNKNOWN)
            seconds = self._offset = max(arrived - self._zero, soonest) if self.by_arrival else soonest
            self._first = stamp
        else:
            seconds = self._seconds(stamp)
        self.frames += 1
        self._last, self._zero = seconds, min(self._zero, arrived - seconds)
        return seconds

    def _seconds(self, stamp: Fraction) -> float:
        assert self._first is not None
        return self._offset + float(stamp - self._first)

    def _follows(self, seconds: float, arrived: float) -> bool:
        return seconds > self._last and not (self.by_arrival and seconds > arrived - self._zero + JUMP)
