"""Ways to print the rows of a timeline, each as soon as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from timesformer.cli.answers import CONTROL

if TYPE_CHECKING:
    from timesformer.inference.rows import Row

WIDTH = 80 - len("  0:00:00.000  0:00:00.000    0.000  padded")  # of a class name, at most, in columns of a terminal


class WindowLines:
    """A table for people: a line a window, below the name of its video where there are several."""

    def __init__(self, labels: Sequence[str], videos: int) -> None:
        self.width = min(max(map(len, labels)), WIDTH)
        self.several, self.video, self.began = videos > 1, "", False

    def add(self, row: Row) -> None:
        if self.several and row["video"] != self.video:
            print(row["video"].translate(CONTROL))
        self.video = row["video"]
        if "problem" in row:
            print(f"  ({row['problem']})", flush=True)
            return
        if not self.began:
            print(f"  {'start':11}  {'end':11}  {'label':{self.width}}  score")
            self.began = True
        label = row["label"].translate(CONTROL)
        label = label if len(label) <= self.width else label[: self.width - 1] + "…"
        mark = "padded" if row["padded"] else "last" if row["last"] else ""
        line = f"  {clock(row['start_s'])}  {clock(row['end_s'])}  {label:{self.width}}  {row['score']:.3f}  {mark}"
        print(line.rstrip(), flush=True)

    def end(self) -> None:
        pass


class WindowTabs:
    """Lines of fields below a header; a video that cannot be read, or no further, is a line with why. Tabs and line
    ends in names are escapes, as in JSON."""

    def __init__(self) -> None:
        self.began = False

    def add(self, row: Row) -> None:
        if not self.began:
            print("video", "start_s", "end_s", "padded", "last", "label", "score", "problem", sep="\t")
            self.began = True
        video = row["video"].translate(CONTROL)
        if "problem" in row:
            print(video, *[""] * 6, row["problem"], sep="\t", flush=True)
            return
        marks = (str(row[name]).lower() for name in ("padded", "last"))
        label, score = row["label"].translate(CONTROL), f"{row['score']:.3f}"
        print(video, row["start_s"], row["end_s"], *marks, label, score, "", sep="\t", flush=True)

    def end(self) -> None:
        pass


def clock(seconds: float, digits: int = 3) -> str:
    """A time as h:mm:ss and so many digits of a second."""
    whole = round(seconds * 10**digits)
    left, fraction = divmod(whole, 10**digits)
    minutes, left = divmod(left, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" + (f".{fraction:0{digits}}" if digits else "")
