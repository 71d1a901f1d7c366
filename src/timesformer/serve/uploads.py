"""Bodies of requests become files in a folder of the service's own, chunk by chunk, within limits.

The names that clients give are said again in answers and used for nothing else.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect, Request

from timesformer.files import FULL
from timesformer.serve.download import download, read_url
from timesformer.serve.job import Disconnected, while_connected
from timesformer.serve.multipart import FileField
from timesformer.serve.problems import Problem
from timesformer.serve.settings import MIB, ServiceSettings

PREFIX = "timesformer-serve-"
WRITTEN = MIB  # bytes that are gathered before a thread writes them
# Bytes, at most, that are written, and removed, on the event loop: a hop to a thread costs more than a write to the
# page cache. What is larger goes to threads, since a disk that stalls would stall all requests.
SMALL = 2**16
NAMELESS = "upload"
SLOWEST = 2**12  # bytes a second of a body, on average; looked at when it has been coming for `idle_seconds`
URL_BYTES = MIB  # of a JSON body


class Upload(NamedTuple):
    """A body as a file. name: what its client calls it. size: bytes. seconds: that it took to come."""

    path: Path
    name: str
    size: int
    seconds: float


class Spool:
    """A folder for uploads; what services that were killed have left is removed.

    Whether a folder's service still runs is told by a lock on it, which the system takes back whatever ends a process.
    """

    def __init__(self) -> None:
        _remove_left(Path(tempfile.gettempdir()))
        self._lock: int | None = None
        self._numbers = count()
        while self._lock is None:  # another service that starts may take a new folder for one that was left
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            with suppress(FileNotFoundError):
                self._lock = _locked(self.folder)

    @asynccontextmanager
    async def file(self) -> AsyncIterator[Path]:
        """A path for a file, which is removed at the end."""
        path = self.folder / str(next(self._numbers))
        try:
            yield path
        finally:
            with suppress(FileNotFoundError):
                if path.stat().st_size <= SMALL:
                    path.unlink()
                else:
                    with anyio.CancelScope(shield=True):  # it takes a while
                        await anyio.to_thread.run_sync(path.unlink)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(PREFIX + "*"):
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """A descriptor that holds the lock of a folder; None where another process does.

    Raises FileNotFoundError where there is no such folder, or another process has removed it before it was locked.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Receiver:
    """Receives bodies, so many at a time."""

    def __init__(self, spool: Spool, settings: ServiceSettings) -> None:
        self.spool, self.settings = spool, settings
        self.receiving = 0

    @asynccontextmanager
    async def receive(self, request: Request) -> AsyncIterator[Upload]:
        """The file of a request, until the block ends. Raises Problem for a body that is none, or beyond a limit."""
        async with self.spool.file() as path:
            if self.receiving >= self.settings.max_uploads:
                raise Problem("busy", f"{self.receiving} uploads are being received; retry in 1 s", 1)
            self.receiving += 1
            try:
                upload = await self._received(request, path)
            finally:
                self.receiving -= 1
            yield upload

    async def _received(self, request: Request, path: Path) -> Upload:
        limit = int(self.settings.max_mb * MIB)
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise _too_large(int(declared), limit)
        began = time.monotonic()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            with path.open("xb") as file:
                writer = _Writer(file, limit)
                if kind == "multipart/form-data":
                    field = FileField(request.headers["content-type"])
                    async for chunk in self._chunks(request, limit):
                        await writer.write(field.feed(chunk))
                    field.end()
                    name = field.filename or NAMELESS
                elif kind.startswith("video/") or kind == "application/octet-stream":
                    async for chunk in self._chunks(request, limit):
                        await writer.write(chunk)
                    name = NAMELESS
                elif kind == "application/json":
                    name = await self._url(request)
                    limits = {"idle_seconds": self.settings.idle_seconds, "seconds": self.settings.upload_seconds}
                    await while_connected(request.receive, partial(download, name, writer.write, **limits))
                else:
                    raise Problem(
                        "unsupported_body",
                        f"content type {kind or '(none)'}; expected multipart/form-data with a field video, video/*, "
                        "application/octet-stream, or JSON with a url",
                    )
                await writer.flush()
        except OSError as error:
            if error.errno in FULL:
                raise Problem("storage_full", "no room for this upload; retry in 60 s", 60) from None
            raise
        if not writer.size:
            raise Problem("bad_request", "the video: 0 bytes; expected at least one")
        return Upload(path, name, writer.size, time.monotonic() - began)

    async def _chunks(self, request: Request, limit: int) -> AsyncIterator[bytes]:
        """The body as it comes. Raises Problem where it takes too long, or is larger than the limit: all of it counts,
        whichever fields of a form it is in, and what follows them."""
        stream = request.stream()
        idle, size, started = self.settings.idle_seconds, 0, anyio.current_time()
        deadline = started + self.settings.upload_seconds
        while True:
            wait = min(idle, deadline - anyio.current_time())
            try:
                with anyio.fail_after(max(wait, 0)):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return
            except ClientDisconnect:
                raise Disconnected from None
            except TimeoutError:
                raise self._stalled(size, anyio.current_time() - started) from None
            size += len(chunk)
            if size > limit:
                raise _too_large(size, limit)
            seconds = anyio.current_time() - started
            if seconds > idle and size < seconds * SLOWEST:
                raise self._stalled(size, seconds)
            yield chunk

    def _stalled(self, size: int, seconds: float) -> Problem:
        limits = self.settings
        return Problem(
            "upload_stalled",
            f"the body: {size} bytes in {seconds:.0f} s; expected all in {limits.upload_seconds:g} s, no pause of "
            f"{limits.idle_seconds:g} s, and {SLOWEST} bytes a second on average",
        )

    async def _url(self, request: Request) -> str:
        body = bytearray()
        async for chunk in self._chunks(request, URL_BYTES):
            body += chunk
        return read_url(bytes(body), self.settings.allow_urls)


class _Writer:
    """Writes chunks to a file, no more than the limit; in threads, but for a small rest."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self.file, self.limit, self.size = file, limit, 0
        self._held = bytearray()

    async def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self.limit:
            raise _too_large(self.size, self.limit)
        self._held += chunk
        if len(self._held) >= WRITTEN:
            await self.flush()

    async def flush(self) -> None:
        held, self._held = self._held, bytearray()
        if len(held) <= SMALL:
            self._write(held)
        else:
            await anyio.to_thread.run_sync(self._write, held)

    def _write(self, held: bytearray) -> None:
        self.file.write(held)
        self.file.flush()


def _too_large(size: int, limit: int) -> Problem:
    """size: bytes that have been declared, or have come so far."""
    return Problem("too_large", f"the upload: {size} bytes or more; expected at most {limit}")
