"""Videos that the service fetches itself, from hosts that it was told of and no others."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Collection, Generator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from timesformer.serve.problems import Problem
from timesformer.serve.settings import MIB

SCHEMES = ("http", "https")


class Address(NamedTuple):
    """A URL whose host is allowed."""

    url: str


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Another address may be of another host."""

    def redirect_request(self, *given: Any) -> None:
        return None


def read_address(body: bytes, allowed: Collection[str]) -> Address:
    """The URL of a JSON body {"url": ...}. Raises Problem for any other, and where its host is not allowed.

    allowed: hosts, with any port; or host:port.
    """
    try:
        given = json.loads(body)
        url = given["url"]
        parts = urlsplit(url)
        port = parts.port
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Problem("bad_request", 'the JSON has no url; expected {"url": "https://..."}') from None
    if not isinstance(url, str) or parts.scheme not in SCHEMES or not parts.hostname or parts.username is not None:
        raise Problem("bad_request", "expected a url of http or https, without a user name")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Problem("bad_request", "the url has characters that are not of URLs")
    host = parts.hostname
    if not {host, f"{host}:{port or {'http': 80, 'https': 443}[parts.scheme]}"} & set(allowed):
        raise Problem("url_not_allowed", "this service does not download from that host")
    return Address(url)


def download(address: Address, timeout: float) -> Generator[bytes, None, None]:
    """What is there, in chunks. timeout: seconds that the host may pause. Raises Problem where it cannot be read."""
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(address.url, timeout=timeout) as answer:
            while chunk := answer.read(MIB):
                yield chunk
    except urllib.error.HTTPError as error:
        error.close()
        what = "a redirect, which is not followed" if 300 <= error.code < 400 else f"status {error.code}"
        raise Problem("download_failed", f"the host answered with {what}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Problem("download_failed", f"the video cannot be downloaded: {type(error).__name__}") from None
