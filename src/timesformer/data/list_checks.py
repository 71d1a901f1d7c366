"""Lists that were written for another reader: what is wrong with them, by its cause."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from timesformer.data.folders import VIDEO_SUFFIXES
from timesformer.data.quarantine import inside
from timesformer.errors import DataError
from timesformer.files import is_utf_8

LOOKED_AT = 100  # paths
MOST_CLASSES = 100_000  # of a list whose classes have no names

MULTILABEL = "several classes a video need a CSV file with the columns path,labels"


def located(root: Path, path: str) -> Path:
    """The file of a path in a list. Its accents may be composed where those of the file's name are not, or reversed.

    macOS takes both for one name, and lists and files that come from there need not be spelled alike.
    """
    if path.isascii() or os.path.lexists(root / path):
        return root / path
    found = root
    for part in Path(path).parts:
        spellings = (found / name for name in (part, *(unicodedata.normalize(form, part) for form in ("NFC", "NFD"))))
        found = next(filter(os.path.lexists, spellings), found / part)
    return found


def why_not_a_row(line: str) -> str:
    """What a line that is not `path label-number` is instead."""
    if re.search(r"\s\d+(\s*[,;]\s*\d+)+$", line):
        return f"expected 'path label-number'; {MULTILABEL}"
    return "expected 'path label-number'"


def check_numbers(root: Path, source: Path, paths: Sequence[str]) -> None:
    """Raise DataError where paths of video files end in further numbers, or all paths in several.

    Names may end so too: paths of a kind of which any is there, below `root`, are right.
    """
    ends = {path: _without_numbers(path) for path in paths}
    files = [path for path, (name, more) in ends.items() if more and Path(name).suffix.lower() in VIDEO_SUFFIXES]
    if files and not any(os.path.exists(located(root, path)) for path in files):
        name, more = ends[files[0]]
        raise DataError(
            f"{source}: {more + 1} numbers after {name[:80]}; expected 'path label-number': frame counts are "
            f"for folders of frames, and {MULTILABEL}"
        )
    several = all(more > 1 for _, more in ends.values())
    if ends and several and not any(os.path.exists(located(root, path)) for path in ends):
        name, more = ends[paths[0]]
        raise DataError(f"{source}: {more + 1} numbers after {name[:80]}; {MULTILABEL}")


def check_label_numbers(source: Path, numbers: set[int], names: Sequence[str] | None) -> None:
    """Raise DataError for a number that is too large for the names of the classes, or for any classes."""
    top = max(numbers, default=0)
    from_one = "; they count from 0, not from 1" if min(numbers, default=0) == 1 else ""
    if names is not None and top >= len(names):
        raise DataError(
            f"{source}: label number {top}; there are {len(names)} label names, so at most {len(names) - 1}{from_one}"
        )
    if names is None and top >= MOST_CLASSES:
        raise DataError(f"{source}: label number {top}; expected numbers of classes, below {MOST_CLASSES}")


def label_notes(numbers: set[int], names: Sequence[str]) -> tuple[str, ...]:
    """What to say of label numbers that may count from 1."""
    if not numbers or not (first := min(numbers)):
        return ()
    return (f"label numbers begin with {first}; they count from 0, so no video is of class {names[0]}",)


def encoding_notes(names: Sequence[str]) -> tuple[str, ...]:
    """What to say of a list's class names that are not UTF-8."""
    odd = next((name for name in names if not is_utf_8(name)), None)
    return () if odd is None else (f"class {odd} is not UTF-8; if the list was saved so, save it as UTF-8",)


def check_paths(folder: Path, source: Path, paths: Sequence[Path]) -> None:
    """Raise DataError for a list whose paths were written on Windows, or not in UTF-8, where none of them is there."""
    if source.is_dir():
        return
    odd = [path for path in paths if "\\" in str(path) or not is_utf_8(str(path))]
    names = {inside(folder, path): path for path in odd}
    windows = [name for name in names if "\\" in name][:LOOKED_AT]
    other = [name for name in names if not is_utf_8(name)][:LOOKED_AT]
    if windows and not any(os.path.lexists(names[name]) for name in windows):
        raise DataError(f"{source}: {windows[0][:80]} has backslashes, as Windows writes paths; write / instead")
    if other and not any(os.path.lexists(names[name]) for name in other):
        raise DataError(f"{source}: {other[0][:80]} is not UTF-8, and no such file is there; save the list as UTF-8")


def _without_numbers(path: str) -> tuple[str, int]:
    """A path without the numbers at its end, and how many these are."""
    count = 0
    while (parts := path.rpartition(" "))[0].strip() and parts[2].isdecimal():
        path, count = parts[0].strip(), count + 1
    return path, count
