"""What processes do in place of decoding, for tests. They import this module, so it imports little."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from timesformer.serve.worker import Limits, Task, decode_upload


def misbehave(theirs: socket.socket, path: Path, task: Task, limits: Limits) -> bool:
    """As a decoder would that a file has in its hands; the file says how."""

    def say(content: bytes) -> None:
        theirs.sendall(len(content).to_bytes(4) + content)

    how = path.read_bytes()
    if how == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif how == b"hang":
        time.sleep(600)
    elif how == b"half":
        say(b'{"shapes": [[3, 3, 4, 16, 16]]}')
        time.sleep(600)
    elif how == b"burn":
        while True:
            pass
    elif how == b"write":
        path.write_bytes(b"x" * 100)
    elif how == b"junk":
        say(b"\x80\x04cos\nsystem\n")
    elif how == b"shapes":
        say(b'{"shapes": [[5, 5]], "seen": {}}')
        theirs.sendall(b"abc")
    elif how == b"twice":
        for _ in range(2):
            say(b'{"shapes": []}')
        say(b'{"shapes": [], "end": true}')
    elif how == b"nothing":
        say(b'{"end": true, "more": true}')
    elif how == b"early":  # an answer, and what nobody has asked for
        say(b'{"shapes": [[3, 3, 4, 16, 16]]}')
        theirs.sendall(bytes(3 * 3 * 4 * 16 * 16))
        say(b'{"end": true, "more": true}')
        say(b'{"shapes": [[3, 3, 4, 16, 16]]}')
        time.sleep(600)
    elif how == b"eat":
        held = bytearray(2**28)
        theirs.sendall(held)
    elif how.startswith(b"{"):  # messages, one a line: a header; arrays of its shapes follow, as long as they are small
        with suppress(BrokenPipeError):
            for line in how.splitlines():
                say(line)
                for shape in json.loads(line).get("shapes", []):
                    if 0 < math.prod(shape) < 2**24:
                        theirs.sendall(bytes(math.prod(shape)))
    else:
        return decode_upload(theirs, path, task, limits)
    return False


def slow(theirs: socket.socket, path: Path, task: Task, limits: Limits) -> bool:
    """Decodes when it is told to: by a file whose path the upload has at its end. Two empty files, since it may write
    no others, say that it has begun: *.begun, and *.NUMBER of its process."""
    content = path.read_bytes()
    allowed = Path(content.rpartition(b"|")[2].decode())
    allowed.with_suffix(f".{os.getpid()}").touch()
    allowed.with_suffix(".begun").touch()
    while not allowed.exists():
        time.sleep(0.01)
    return decode_upload(theirs, path, task, limits)


def burn_a_second(theirs: socket.socket, path: Path, task: Task, limits: Limits) -> bool:
    """Of processor time, before it decodes."""
    end = time.process_time() + 1
    while time.process_time() < end:
        pass
    return decode_upload(theirs, path, task, limits)


class Breaks:
    """A socket over which a process says so much, and ends."""

    def __init__(self, theirs: socket.socket) -> None:
        self.theirs, self.left = theirs, 5  # the stride, and two windows with their views

    def sendall(self, content: Any) -> None:
        if not self.left:
            os._exit(3)
        self.left -= 1
        self.theirs.sendall(content)


def breaks_off(theirs: Any, path: Path, task: Task, limits: Limits) -> bool:
    return decode_upload(Breaks(theirs), path, task, limits)  # type: ignore[arg-type]
