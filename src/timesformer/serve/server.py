"""Runs a service until it is told to end."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from timesformer.errors import SettingError


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes any that is free. Raises SettingError where it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family)
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


def serve(app: FastAPI, listening: socket.socket, drain_seconds: float) -> None:
    """Answer requests until SIGTERM or Ctrl-C; those that have begun then have so many seconds to end."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=round(drain_seconds),
    )
    uvicorn.Server(config).run(sockets=[listening])
