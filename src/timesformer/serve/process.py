"""A process that decodes uploads, as the service has it: what it is told, what comes of it, and its end."""

from __future__ import annotations

import multiprocessing
import pickle
import socket
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path

from timesformer.serve.problems import Problem
from timesformer.serve.worker import Decode, Limits, Task, decode_uploads

ENDING = 10.0  # seconds that a process that has closed its socket may take to end

CONTEXT = multiprocessing.get_context("forkserver")
LOCK = threading.Lock()  # multiprocessing looks after the children of other threads, too


class DecoderProcess:
    """Starts a process; raises Problem where the system has none. For one thread at a time; any may kill it.

    Attributes: `uploads`, how many it was given.
    """

    def __init__(self, decode: Decode, limits: Limits) -> None:
        self.uploads = 0
        self._code: int | None = None
        self._ours, theirs = socket.socketpair()
        self._process = CONTEXT.Process(target=decode_uploads, args=(theirs, limits, decode), daemon=True)
        try:
            with theirs, LOCK:
                self._process.start()
        except (OSError, EOFError):
            self._ours.close()
            raise Problem("unavailable", "no process to decode with; retry in 10 s", 10) from None

    def give(self, path: Path, task: Task) -> bool:
        """Name the next upload. False where the process has ended, or has said what nobody asked for."""
        self.uploads += 1
        self._ours.settimeout(0)
        try:
            self._ours.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            asked = pickle.dumps((path, task))
            try:
                self._ours.sendall(len(asked).to_bytes(4) + asked)
            except OSError:
                return False
            return True
        except OSError:
            return False
        return False

    def receive(self, size: int, until: float) -> bytearray:
        """So many bytes that the process sends, until `time.monotonic()` is this; raises TimeoutError then, EOFError
        where it has ended."""
        content = bytearray(size)
        left = memoryview(content)
        while left:
            seconds = until - time.monotonic()
            if seconds <= 0:
                raise TimeoutError
            self._ours.settimeout(seconds)
            try:
                count = self._ours.recv_into(left)
            except ConnectionError as error:
                raise EOFError from error
            if not count:
                raise EOFError
            left = left[count:]
        return content

    def kill(self) -> None:
        """Not one that has ended: its number may be that of another process by now."""
        if self._code is None and not wait([self._process.sentinel], 0):
            self._process.kill()

    def end(self) -> None:
        """Kill it and wait for its end."""
        self.kill()
        self.exit_code()
        self._ours.close()

    def exit_code(self) -> int | None:
        """How the process, which has closed its socket or was killed, ended."""
        if self._code is None:
            if not wait([self._process.sentinel], ENDING):
                self.kill()
                wait([self._process.sentinel])
            with LOCK:
                self._process.join()
                self._code = self._process.exitcode
        return self._code
