"""What a process does that decodes videos for another one."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from timesformer.data.channel import receive, send
from timesformer.data.dataset import Sample, collate

Key = Any  # what a data set is indexed with
STOPPING = (signal.SIGINT, signal.SIGTERM)


class Videos(Protocol):
    """A data set whose videos have names."""

    def __getitem__(self, key: Key) -> Sample: ...

    def name(self, key: Key) -> Path | str: ...


class Failure(NamedTuple):
    """What a data set raised."""

    error: Exception


def decode_batches(
    theirs: socket.socket, videos: Videos, parent: int | None, inherited: Iterable[socket.socket]
) -> None:
    """Make the batches that are asked for through a socket, as (number, keys), until its other end is closed.

    parent: as for `follow_parent`; None where the thread that starts this process may end before it. inherited: sockets
    that a fork has, and must not keep open.

    It decodes in one thread, and gives way where training needs the same cores: on two cores an epoch of a tiny model
    took 12 s so, 16 s otherwise. What it draws at random has a seed a clip, so it needs none itself.
    """
    follow_parent(parent)
    for ours in inherited:
        ours.close()
    torch.set_num_threads(1)
    os.nice(10)
    with suppress(OSError, EOFError):  # the parent has ended
        while True:
            number, keys = receive(theirs)
            _send_batch(theirs, videos, number, keys)


def follow_parent(parent: int | None) -> None:
    """End when told to, even in a decoder that hangs, and where Linux can do that together with `parent`, a process
    number: when the thread ends that started this process. Ctrl-C is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform != "linux":
        return
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # blocked by `signals_later`
    if parent is not None:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def _send_batch(theirs: socket.socket, videos: Videos, number: int, keys: list[Key]) -> None:
    """A batch, or why there is none; before, the key of each video when it is read."""
    samples = []
    try:
        for key in keys:
            send(theirs, number, key)
            samples.append(videos[key])
        batch = collate(samples)
    except Exception as error:
        send(theirs, number, Failure(_portable(error)))
    else:
        send(theirs, number, batch)


def _portable(error: Exception) -> Exception:
    """An error as it can be sent, with its traceback as a note."""
    text = traceback.format_exc()
    error.add_note(text)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(text)
    return error
