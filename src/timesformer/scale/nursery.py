"""The process that forks those that read videos (`decoder.py`), and what these do.

`python -m timesformer.scale.nursery DESCRIPTOR FOLDER`: of its pipe, and the folder of files that are fetched. It ends
when the other end of its pipe is closed, as the system does when a process is killed, and deletes the folder.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timesformer.confined import go_first, limit_memory
from timesformer.errors import TimesformerError, VideoError, one_line
from timesformer.scale.decoder import End, Views

if TYPE_CHECKING:
    from timesformer.scale.work import About, Piece, Work


def _main() -> None:
    """Fork a process when it is told to, and wait for its end."""
    import torch

    import timesformer.scale.work  # with all that decoding needs
    from timesformer.data.decoding import follow_parent

    assert timesformer.scale.work
    control: Connection[Any, Any] = Connection(int(sys.argv[1]))
    follow_parent(None)
    torch.set_num_threads(1)
    ours = os.getpid()
    with suppress(EOFError, OSError):  # the parent has ended
        control.send(None)
        while True:
            descriptor = recv_handle(control)
            process = os.fork()
            if not process:
                control.close()
                follow_parent(ours)
                try:
                    _read_videos(Connection(descriptor))
                finally:  # whatever happens, what follows is the nursery's
                    os._exit(1)
            os.close(descriptor)
            try:
                control.send(process)
                control.recv()
            finally:
                os.kill(process, signal.SIGKILL)
                _, status, usage = os.wait4(process, 0)
            control.send((status, usage.ru_utime + usage.ru_stime))
    shutil.rmtree(sys.argv[2], ignore_errors=True)


def _read_videos(pipe: Connection[Any, Any]) -> None:
    """What such a process does."""
    folder, memory = pipe.recv()
    _prepare(memory)
    with suppress(EOFError, OSError):  # the parent has ended
        while True:
            given, video = pipe.recv()
            if given is not None:
                work, about = pickle.loads(given)
            try:
                _decode(pipe, work, about, Path(folder), *pickle.loads(video))
            except Exception as error:
                message = _message(error, memory)
                pipe.send(message)
                if isinstance(message, str):
                    os._exit(1)


def _prepare(memory: float) -> None:
    """Give way to models, and keep to the limit."""
    os.nice(10)
    if not sys.platform.startswith("linux"):
        return
    go_first()
    limit_memory(int(memory * 1e9))


def _decode(
    pipe: Connection[Any, Any], work: Work, about: About, folder: Path, source: Any, cells: dict[str, str]
) -> None:
    """Send the pieces of a video, and its end."""
    from timesformer.scale.stores import fetch, in_store

    began, fetched, size, problem = time.process_time(), None, 0, None
    try:
        if isinstance(source, str) and in_store(source):
            source = fetched = fetch(source, folder)
        pipe.send(None)
        size = _size(source)
        for piece in work.read(about, source, cells):
            _send(pipe, piece)
    except VideoError as error:
        problem = error.reason
    finally:
        if fetched is not None:
            fetched.unlink(missing_ok=True)
    pipe.send(End(problem, time.process_time() - began, size))


def _send(pipe: Connection[Any, Any], piece: Piece) -> None:
    views = piece.views_VCTSS.contiguous()
    pipe.send(Views(piece.facts, tuple(views.shape), b""))
    pipe.send_bytes(views.view(-1).numpy().data)


def _message(error: Exception, memory: float) -> Any:
    """What to tell the parent: an error that stops the run, or else how the video has ended this process."""
    from timesformer.device import is_out_of_memory

    if is_out_of_memory(error):
        return f"ran out of its {memory:g} GB of memory"
    if isinstance(error, TimesformerError) and not isinstance(error, VideoError):
        return error
    return f"failed, {type(error).__name__}: {one_line(error)[:200]}"


def _size(source: Any) -> int:
    """Bytes of a file, or of all files of a folder; 0 of what is elsewhere."""
    path = getattr(source, "path", source)
    try:
        if os.path.isdir(path):
            return sum(entry.stat().st_size for entry in os.scandir(path) if entry.is_file())
        return os.path.getsize(path)
    except (OSError, ValueError):
        return 0


if __name__ == "__main__":
    _main()
