"""One video or many: what callers pass as videos, as a list; lists in files, and their shards."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import numpy as np
from torch import Tensor

from timesformer.data.folders import describe_ignored, scan_folder
from timesformer.errors import DataError, SettingError, VideoError
from timesformer.video.source import STDIN, Source, portable, reads_once

Sources = Source | Iterable[Source]


def list_sources(sources: Sources) -> list[Source]:
    """Videos as a list, in their order.

    sources: a list, tuple or other iterable of sources; or one source alone that is no list, such as a path. So a list
    of images is a list of sources here, each of which is one frame and refused; [images] is the list of one video.
    Raises SettingError for anything else.
    """
    if isinstance(sources, str | Path | bytes | np.ndarray | Tensor) or hasattr(sources, "read"):
        return [cast("Source", sources)]
    if not isinstance(sources, Iterable):
        raise SettingError(f"videos: {type(sources).__name__}; expected a list of videos, or one video")
    return list(sources)


def find_sources(sources: Sources, ignored: Counter[str] | None = None) -> list[Source]:
    """As `list_sources`, with a folder standing for all videos and folders of image frames in it.

    ignored: what in these folders is neither is counted here, see `scan_folder`. Standard input and other descriptors
    are read into memory, so that they can be read twice. Raises VideoError for a folder that holds no videos. Whether
    anything else can be read is only known when it is read.
    """
    found: list[Source] = []
    for source in list_sources(sources):
        if not isinstance(source, str | Path):
            found.append(source)
        elif reads_once(source):
            try:
                found.append(cast("Source", portable(source)))
            except VideoError:  # as will be seen when it is read
                found.append(source)
        elif not os.path.isdir(source):
            found.append(source)
        else:
            videos, others = scan_folder(Path(source))
            if not videos:
                holds = f"; it holds {describe_ignored(others)}" if others else ""
                raise VideoError(source, f"the folder holds no videos or image frames{holds}")
            found += videos
            if ignored is not None:
                ignored += others
    return found


def read_list(file: str | Path) -> list[Source]:
    """The paths and URLs of a text file, or with "-" of standard input: one a line, as they are but for the line's end.

    Blank lines are ignored; names need not be UTF-8; a line "-" is the file of that name. None of them is looked for.
    Raises DataError for a file that cannot be read, is no text or has no line.
    """
    name = "<stdin>" if file == STDIN else file
    try:
        content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}") from None
    return parse_list(content, name)


def parse_list(content: bytes, name: str | Path) -> list[Source]:
    """The paths and URLs of the content of a list, see `read_list`; `name` it has in errors."""
    if b"\0" in content:
        raise DataError(f"{name}: not a text file in UTF-8; expected one path or URL a line")
    lines = [line.removesuffix(b"\r") for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    if paths := [os.fsdecode(line) for line in lines if line.strip()]:
        return [Path(path) if path == STDIN else path for path in paths]
    raise DataError(f"{name}: is empty; expected one path or URL a line")


def in_shard(shard: str) -> Callable[[str], bool]:
    """Whether a name is in shard "I/N", I from 1 to N: its SHA-256 decides, whatever other names there are.

    Raises SettingError for another text.
    """
    found = re.fullmatch(r"([0-9]+)/([0-9]+)", shard)
    number, shards = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= shards:
        raise SettingError(f"shard {shard}: expected I/N with I from 1 to N, such as 1/4")
    return lambda name: shard_of(name, shards) == number


def shard_of(name: str, shards: int) -> int:
    """The shard of a name, from 1 to `shards`: its SHA-256 decides, whatever other names there are. Shards of half as
    many are each two of these together."""
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()) % shards + 1
