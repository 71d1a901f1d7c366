"""What the head comment of a recipe says: what the recipe is for, how it is run, on what, and its score."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from timesformer.recipes import recipe_text


class Summary(NamedTuple):
    """A recipe in a line: what it is for, its hardware, its top-1 in per cent, if any, and whether others published it
    and this project has not run it."""

    what: str
    hardware: str
    top1: float | None
    published: bool


def head_of(name_or_file: str | Path) -> list[str]:
    """The comment lines that a recipe begins with, as they are."""
    return list(takewhile(lambda line: line.startswith("#"), recipe_text(name_or_file).splitlines()))


def summarise(name: str) -> Summary:
    """The head of a packaged recipe in short."""
    lines = [line.removeprefix("#").strip() for line in head_of(name)]
    what, text = " ".join(takewhile(bool, lines)).rstrip("."), " ".join(lines)
    hardware = re.search(r"Hardware: ([^,;:.]+)", text)
    assert hardware is not None
    score = re.search(r"Score: (published)?[^;]*?(\d+\.\d+) top-1", text)
    if score is None:
        return Summary(what, hardware[1], None, published=False)
    return Summary(what, hardware[1], float(score[2]) * (1 if score[1] else 100), published=score[1] is not None)
