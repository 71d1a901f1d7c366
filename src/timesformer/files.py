"""Files that are whole or not there, whenever a process is killed, a disk is full or the power fails; text in them.

Names of files need not be UTF-8. Python holds a byte of a name that is not UTF-8 as a lone surrogate, U+DC80 to U+DCFF
(PEP 383). Text files get that byte back: `open_text`. What must be valid Unicode, such as JSON, Parquet or a terminal,
gets a visible escape instead, `\\udc80` to `\\udcff`: `as_json` and `escape`.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TextIO

from timesformer.errors import SettingError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what the system says of a full disk, naming no file
LONGEST_NAME = 255  # bytes, of the file systems of Linux and macOS
LEFTOVER_S = 86_400  # after that long without a change a temporary file is no longer being written


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what takes the place of `path` when the block ends and all of it is on the disk.

    Where the block or the disk fails, what was at `path` before stays. Several threads, processes or machines may write
    the same path: each has a temporary file of its own, .NAME.8HEXDIGITS.tmp, and the last to end takes the place. The
    file of a process that was killed stays, and is removed a day later, by the next write of the same path.
    """
    _remove_leftovers(path)
    temporary = path.with_name(f".{_cut(path.name)}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _cut(name: str) -> str:
    """As much of a name as leaves room for the rest of a temporary one."""
    return os.fsencode(name)[: LONGEST_NAME - len("..12345678.tmp")].decode(errors="ignore")


def _remove_leftovers(path: Path) -> None:
    leftover = re.compile(re.escape(f".{_cut(path.name)}.") + r"[0-9a-f]{8}\.tmp")
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            # Not the time of modification, which the block may set.
            if leftover.fullmatch(entry.name) and time.time() - entry.stat().st_ctime > LEFTOVER_S:
                os.unlink(entry)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises SettingError, naming the path, for whatever the system refuses."""
    try:
        yield
    except OSError as error:
        raise SettingError(f"{path}: cannot be written: {error.strerror or error}") from None


def flush(path: Path) -> None:
    """Make the operating system write a file, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_text(path: Path, mode: Literal["r", "w", "a"] = "r") -> TextIO:
    """A text file in UTF-8 that keeps bytes of names that are not; line ends are written as they are given."""
    encoding = "utf-8-sig" if mode == "r" else "utf-8"
    return path.open(mode, encoding=encoding, errors="surrogateescape", newline=None if mode == "r" else "")


def is_utf_8(text: str) -> bool:
    """Whether a name is UTF-8 on the disk."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON, not only ASCII, that can be written anywhere; `json.loads` gives back what is not Unicode, too."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", _escaped, text)


def escape(text: str) -> str:
    r"""Text that is valid Unicode: `\udc80` to `\udcff` stand for bytes that are not UTF-8.

    A backslash that would then be mistaken for one of an escape is `\u005c`; all other text stays as it is.
    `unescape` gives the text back.
    """
    return re.sub(r"[\ud800-\udfff]|\\(?=u005c|ud[89a-f][0-9a-f]{2})", _escaped, text)


def unescape(text: str) -> str:
    """The text that `escape` was given."""
    return re.sub(r"\\u(005c|d[89a-f][0-9a-f]{2})", lambda found: chr(int(found[1], 16)), text)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
