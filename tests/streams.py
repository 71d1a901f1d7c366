"""Streams for tests: a server on this machine that plays what it is told, pipes, and the time that streams go by."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from timesformer.video.live import Limits

Send = Callable[[bytes], object]
Play = Callable[[Send], object]

# Streams are opened again at once, and given up by no machine's slowness: tests turn the clock on, see `Clock`.
PATIENT = Limits(start=120, stall=120, lost=120, retry=0.01, longest_retry=0.02)


class Clock:
    """`time` as live streams read it, from which a test can take the waiting."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        patch.setattr("timesformer.video.live.time", self)

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def skip(self) -> None:
        """So much that every stream without frames is lost."""
        self._ahead += PATIENT.lost


@contextmanager
def served(*plays: Play | bytes, over: Callable[[], object] = lambda: None) -> Iterator[str]:
    """The URL of a server that sends bytes of unknown length: those of each play to one connection, and closes it.

    A play is called with a function that sends; bytes are sent as they are. Further connections are refused (404),
    each after a call of `over`.
    """
    left = list(plays)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not left:
                over()
                self.send_error(404)
                return
            play = left.pop(0)
            self.send_response(200)
            self.end_headers()
            if isinstance(play, bytes):
                self.wfile.write(play)
            else:
                play(self.wfile.write)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """The other end has closed."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/live"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def piped(content: bytes, *, keep_open: bool = False) -> Iterator[str]:
    """The path of a pipe that bytes are written to, and that ends then; with `keep_open` when the block does."""
    reader, writer = os.pipe()
    leave = threading.Event()

    def write() -> None:
        with open(writer, "wb", buffering=0) as file:
            try:
                file.write(content)
            except BrokenPipeError:
                return
            if keep_open:
                leave.wait()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield f"/dev/fd/{reader}"
    finally:
        leave.set()
        os.close(reader)
        thread.join(60)
