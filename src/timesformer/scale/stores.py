"""Folders and object stores by one kind of name: a path, or a URL such as s3://bucket/folder.

    s3, gs, gcs, abfs, abfss, hdfs, viewfs     pyarrow's filesystems; s3://bucket/a?endpoint_override=HOST:PORT&scheme=http
                                               and AWS_ENDPOINT_URL are understood
    what else fsspec knows, such as hf         through fsspec, where its package is installed
    http, https, ftp and others of FFmpeg      no store: videos alone, which FFmpeg opens

A file that is not there is a fault of that file. A store that does not answer is waited for, and then an error of its
own, and so is one that no longer grants access: no row may say of a video what is true of a network or of credentials.
"""

from __future__ import annotations

import functools
import re
import shutil
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from timesformer.errors import SettingError, TimesformerError, VideoError, one_line
from timesformer.files import FULL

ARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
BUCKETS = ("s3", "gs", "gcs", "abfs", "abfss")
# What FFmpeg opens, or what is no store although fsspec has an adapter for it.
OTHERS = ("http", "https", "ftp", "file", "local", "data", "memory", "async_wrapper", "cached", "tar", "zip")
WAITS = (1, 2, 4, 8, 15, 30, 60)  # seconds between tries while a store does not answer
CHUNK = 1 << 22

T = TypeVar("T")


class StoreError(TimesformerError):
    """An object store that does not answer or refuses access, or a full disk: what has been done so far stays."""


class Location(NamedTuple):
    """A file or folder in a filesystem of pyarrow. name: as it was given; local: whether it is of this machine."""

    filesystem: Any
    path: str
    name: str
    local: bool

    def join(self, *parts: str) -> Location:
        """What lies below it."""
        name = "/".join((self.name.partition("?")[0].rstrip("/"), *parts))
        return self._replace(path="/".join((self.path.rstrip("/"), *parts)), name=name)


def in_store(name: str) -> bool:
    """Whether a name is a URL of an object store, not a path or what FFmpeg opens itself."""
    scheme = _scheme(name)
    return scheme in ARROW or (bool(scheme) and scheme not in OTHERS and scheme in _known_to_fsspec())


def locate(name: str) -> Location:
    """Where a name points. Raises SettingError for a URL that is none of a store, or whose package is not installed."""
    if not _scheme(name):
        return Location(_local(), str(Path(name).absolute()), name, True)
    if not in_store(name):
        raise SettingError(f"{name}: not a path or the URL of an object store; expected one such as s3://bucket/folder")
    base, rest = _split(name)
    filesystem, prefix = _filesystem(base)
    return Location(filesystem, f"{prefix.rstrip('/')}/{rest}".rstrip("/"), name, False)


def check_buckets(names: Iterable[str]) -> None:
    """Raises SettingError for a store whose bucket does not exist or may not be used, StoreError for one that does not
    answer. Each bucket is asked once."""
    from pyarrow.fs import FileType

    for url in {_split(name)[0]: name for name in names if _scheme(name) in BUCKETS}.values():
        filesystem, bucket = _filesystem(_split(url)[0])
        try:
            there = waiting(partial(filesystem.get_file_info, bucket), url, (1,))
        except FileNotFoundError:
            there = None
        except PermissionError as error:
            raise SettingError(f"{url}: bucket {bucket} may not be used: {_short(error)}") from None
        if there is None or there.type == FileType.NotFound:
            raise SettingError(f"{url}: no such bucket {bucket}")


def fetch(name: str, folder: Path) -> Path:
    """A copy of an object in a folder of this machine, with the object's suffix.

    Raises VideoError for an object that is not there or is none to read; StoreError where its store does not answer or
    refuses access: its bucket has been asked before, so that credentials have expired rather than that one object is
    kept from them.
    """
    location = locate(name)
    target = folder / f"fetched{Path(location.path).suffix}"

    def copy() -> None:
        with location.filesystem.open_input_stream(location.path) as source, target.open("wb") as stream:
            shutil.copyfileobj(source, stream, CHUNK)

    try:
        waiting(copy, name)
    except FileNotFoundError:
        raise VideoError(name, "no such file") from None
    except OSError as error:  # the store answers, and has a reason
        if _refused(error):
            raise StoreError(f"{name}: its store refuses access: {_short(error)}; renew the credentials") from None
        raise VideoError(name, f"cannot be read: {_short(error)}") from None
    return target


def waiting(do: Callable[[], T], name: str, waits: tuple[int, ...] = WAITS) -> T:
    """What `do` returns, after as many tries as it takes a store to answer.

    Raises OSError for what the store answers is wrong, StoreError where it does not answer after all waits, and where
    the disk is full.
    """
    for wait in (*waits, None):
        try:
            return do()
        except OSError as error:
            if error.errno in FULL:
                raise StoreError(f"{name}: cannot be written: {error.strerror or one_line(error)}") from None
            if not _passing(error):
                raise
            if wait is None:
                raise StoreError(f"{name}: its store does not answer: {_short(error)}") from None
        time.sleep(wait)
    raise AssertionError


def _passing(error: OSError) -> bool:
    """Whether it is of the way to a store, or of a store with too much to do; not of what was asked for."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError):
        return False
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    signs = (
        r"NETWORK|curlCode|SLOW_DOWN|INTERNAL_FAILURE|SERVICE_UNAVAILABLE|REQUEST_TIMEOUT|THROTTLING|HTTP status 5\d\d"
    )
    return re.search(signs, str(error)) is not None


def _refused(error: OSError) -> bool:
    """Whether it is of who asks, not of what was asked for."""
    signs = (
        r"ACCESS_DENIED|EXPIRED|CREDENTIALS|TOKEN|ACCESS_KEY|SIGNATURE|AUTHENTICATION|UNAUTHORIZED|HTTP status 40[13]"
    )
    return isinstance(error, PermissionError) or re.search(signs, str(error), re.IGNORECASE) is not None


def _short(error: BaseException) -> str:
    return one_line(error)[:200]


def _scheme(name: str) -> str:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", name)
    return found[1].lower() if found else ""


def _split(url: str) -> tuple[str, str]:
    """What of a URL tells the filesystem and its bucket, and the path in that, whose characters are as they are."""
    scheme, _, rest = url.partition("://")
    rest, _, options = rest.partition("?") if "endpoint_override=" in url else (rest, "", "")
    bucket, _, path = rest.partition("/")
    base = f"{scheme}://{bucket}" + (f"?{options}" if options else "")
    return base, path


@functools.cache
def _known_to_fsspec() -> frozenset[str]:
    try:
        import fsspec
    except ImportError:
        return frozenset()
    return frozenset(fsspec.available_protocols())


@functools.cache
def _local() -> Any:
    from pyarrow.fs import LocalFileSystem

    return LocalFileSystem()


@functools.cache
def _filesystem(base: str) -> tuple[Any, str]:
    """A filesystem, and what paths in it begin with: the bucket."""
    import pyarrow
    from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

    scheme = _scheme(base)
    try:
        if scheme in ARROW:
            found: tuple[Any, str] = FileSystem.from_uri(base)
            return found
        import fsspec

        return PyFileSystem(FSSpecHandler(fsspec.filesystem(scheme))), base.partition("://")[2]
    except (pyarrow.ArrowException, OSError, ImportError, ValueError) as error:
        raise SettingError(f"{base}: cannot be opened: {_short(error)}") from None
