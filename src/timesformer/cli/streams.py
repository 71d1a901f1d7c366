"""What the command prints: a name that is not UTF-8, or that the terminal has no letters for, never stops it."""

from __future__ import annotations

import codecs
import io
import json
import sys

ESCAPE, KEEP = "timesformer.escape", "timesformer.keep"  # names of the error handlers


def prepare_streams() -> None:
    """Set how the standard streams treat characters that their encoding does not have.

    A terminal and standard error show escapes, as in JSON. Elsewhere standard output gets the bytes of a name as they
    are, and standard input gives them.
    """
    codecs.register_error(ESCAPE, _escape)
    codecs.register_error(KEEP, _keep)
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, KEEP), (sys.stderr, ESCAPE)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPE if errors == KEEP and stream.isatty() else errors)


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start])[1:-1], error.start + 1


def _keep(error: UnicodeError) -> tuple[str | bytes, int]:
    """The bytes that the characters stand for; an escape where they stand for none."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return _escape(error)
