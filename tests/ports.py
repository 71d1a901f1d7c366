"""Ports of this machine that nobody else is given while a test uses them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> Iterator[int]:
    """A port that refuses connections until something listens there that reuses addresses, as servers do."""
    with socket.socket(socket.AF_INET, kind) as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_DGRAM:
            kept.connect(("127.0.0.1", 9))  # what others send is not for this socket
        yield kept.getsockname()[1]
