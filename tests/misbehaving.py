"""What processes do in place of decoding, for tests. They import this module, so it imports little."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from timesformer.serve.worker import Limits, Task, confine, decode_upload


def misbehave(theirs: Connection, path: Path, task: Task, limits: Limits) -> None:
    """As a decoder would that a file has in its hands; the file says how."""
    confine(limits)
    how = path.read_bytes()
    if how == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == b"hang":
        time.sleep(600)
    elif how == b"half":
        theirs.send_bytes(b'{"shapes": [[3, 3, 4, 16, 16]]}')
        time.sleep(600)
    elif how == b"burn":
        while True:
            pass
    elif how == b"write":
        path.write_bytes(b"x" * 100)
    elif how == b"junk":
        theirs.send_bytes(b"\x80\x04cos\nsystem\n")
    elif how == b"shapes":
        theirs.send_bytes(b'{"shapes": [[5, 5]], "seen": {}}')
        theirs.send_bytes(b"abc")
    elif how == b"twice":
        for _ in range(2):
            theirs.send_bytes(b'{"shapes": []}')
        theirs.send_bytes(b'{"shapes": [], "end": true}')
    elif how == b"eat":
        held = bytearray(2**28)
        theirs.send_bytes(held)
    elif how.startswith(b"{"):  # messages, one a line: a header; arrays of its shapes follow, as long as they are small
        with suppress(BrokenPipeError):
            for line in how.splitlines():
                theirs.send_bytes(line)
                for shape in json.loads(line).get("shapes", []):
                    if 0 < math.prod(shape) < 2**24:
                        theirs.send_bytes(bytes(math.prod(shape)))
    else:
        decode_upload(theirs, path, task, limits)


def slow(theirs: Connection, path: Path, task: Task, limits: Limits) -> None:
    """Decodes when it is told to: by a file whose path the upload has at its end."""
    content = path.read_bytes()
    allowed = Path(content.rpartition(b"|")[2].decode())
    allowed.with_suffix(".begun").write_text(str(os.getpid()))
    while not allowed.exists():
        time.sleep(0.01)
    decode_upload(theirs, path, task, limits)


class Breaks:
    """A connection over which a process says so much, and ends."""

    def __init__(self, theirs: Connection) -> None:
        self.theirs, self.left = theirs, 5  # the stride, and two windows with their views

    def send_bytes(self, content: Any) -> None:
        if not self.left:
            os._exit(3)
        self.left -= 1
        self.theirs.send_bytes(content)


def breaks_off(theirs: Any, path: Path, task: Task, limits: Limits) -> None:
    decode_upload(Breaks(theirs), path, task, limits)  # type: ignore[arg-type]
