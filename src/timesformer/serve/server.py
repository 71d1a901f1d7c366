"""Runs a service until it is told to end."""

from __future__ import annotations

import asyncio
import socket

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from timesformer.errors import SettingError

CONNECTIONS = 512  # at a time; beyond that, requests are answered with 503
HEAD_SECONDS = 10.0  # that the head of a request may take to come
READ_SECONDS, READ_BYTES = 30.0, 2**16  # a client reads as many bytes of an answer in as many seconds, or the rest


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes any that is free. Raises SettingError where it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # asyncio sends parts of an answer at once (TCP_NODELAY) only where the socket's protocol is named; otherwise
        # the last one waits 40 ms for the client to acknowledge the first.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(1024)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        reason = error.strerror or error
        raise SettingError(f"{host}:{port}: cannot be listened at: {reason}; name another --host or --port") from None
    return listening


def address_of(listening: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Connection(H11Protocol):
    """A connection that ends when its client takes too long to send the head of a request, or to read an answer.

    Its request ends then as if the client had left.
    """

    _head: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that writing pauses as long as anything is left to be read
        self._time_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._time_head()

    def _time_head(self) -> None:
        """h11 is idle until it has a whole head; what comes of it meanwhile does not give its client more time."""
        waits = self.conn.their_state is h11.IDLE
        if waits and self._head is None:
            self._head = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)
        elif not waits and self._head is not None:
            self._head.cancel()
            self._head = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._time_reading()

    def _time_reading(self, before: int | None = None) -> None:
        """before: bytes that were left when this was called for the same answer last."""
        left = self.transport.get_write_buffer_size()
        if before is not None and before - left < READ_BYTES:
            self.transport.abort()
        else:
            self._unread = self.loop.call_later(READ_SECONDS, self._time_reading, left)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)


def configure(app: FastAPI, drain_seconds: float) -> uvicorn.Config:
    """How the server below the service runs. drain_seconds: as of `serve`."""
    return uvicorn.Config(
        app,
        http=Connection,
        limit_concurrency=CONNECTIONS,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=round(drain_seconds),
    )


def serve(app: FastAPI, listening: socket.socket, drain_seconds: float) -> None:
    """Answer requests until SIGTERM or Ctrl-C; those that run then have so many seconds to end."""
    uvicorn.Server(configure(app, drain_seconds)).run(sockets=[listening])
