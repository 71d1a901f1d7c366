"""What a column of a split's list has of each video, such as its group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from timesformer.data.manifest import Manifest


class Column:
    """A column of the list of a split, read before the videos are.

    what: what needs it, in the plural, for messages. group: whether each video needs a value, as `Manifest.groups`.
    Raises DataError for a list without such a column, and for a video that has two values in it.
    """

    def __init__(self, manifest: Manifest, name: str, what: str, *, group: bool = False) -> None:
        self.name = name
        values = manifest.groups(name) if group else manifest.cells(name, what)
        self._values = dict(zip((video.path for video in manifest.videos), values, strict=True))

    def of(self, paths: Sequence[Path]) -> list[str]:
        """The values of videos of the split."""
        return [self._values[path] for path in paths]
