"""The videos that a command line names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from timesformer.cli.lines import say

if TYPE_CHECKING:
    from timesformer.video.source import Source


def sources_of(videos: list[str]) -> list[Source]:
    """As `find_sources`; says on standard error which files of folders are ignored."""
    from collections import Counter

    from timesformer.data.folders import describe_ignored
    from timesformer.inference.sources import find_sources

    ignored: Counter[str] = Counter()
    found = find_sources(videos, ignored)
    if ignored:
        say(f"ignored: {describe_ignored(ignored)}", err=True)
    return found
