"""The page: its files are read once, at the start, so that no name in a request is ever a path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.responses import Response

from timesformer.serve.problems import Problem

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# The videos that it plays are blobs of its own; nothing comes from, or goes to, any other host.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}


class Page:
    """The files of a folder by their names, such as "index.html" and "parts/list.js"."""

    def __init__(self, folder: Traversable | None = None) -> None:
        folder = files("timesformer.serve") / "page" if folder is None else folder
        self.files: Mapping[str, tuple[bytes, str]] = dict(_read(folder, ""))

    def response(self, name: str) -> Response:
        """A file. Raises Problem for a name that is none."""
        if name not in self.files:
            raise Problem("not_found", f"{name!r}: not a file of the page; the page is /")
        content, kind = self.files[name]
        return Response(content, media_type=kind, headers=HEADERS)


def _read(folder: Traversable, prefix: str) -> Iterator[tuple[str, tuple[bytes, str]]]:
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/")
        elif (suffix := "." + entry.name.rpartition(".")[2]) in TYPES:
            yield prefix + entry.name, (entry.read_bytes(), TYPES[suffix])
