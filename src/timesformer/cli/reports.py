"""The report that a command writes when it has done its work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def write_at_end(write: Callable[[], Path]) -> Path | None:
    """The page that `write` gives; None, and a warning of one line, where it fails: what was done before stays done."""
    import sys

    from timesformer.errors import one_line

    try:
        return write()
    except Exception as error:
        print(f"warning: no report was written: {one_line(error)}", file=sys.stderr)
        return None
