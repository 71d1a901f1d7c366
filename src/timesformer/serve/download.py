"""Videos that the service fetches itself, from hosts that it was told of and no others."""

from __future__ import annotations

import json
import ssl
from collections.abc import Awaitable, Callable, Collection
from functools import cache
from urllib.parse import urlsplit

import anyio
import httpx

from timesformer.serve.problems import Problem

SCHEMES = ("http", "https")


def read_url(body: bytes, allowed: Collection[str]) -> str:
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
        raise Problem("url_not_allowed", f"{host}: not a host that this service downloads from; see --allow-urls")
    return str(url)


async def download(url: str, write: Callable[[bytes], Awaitable[None]], *, idle_seconds: float, seconds: float) -> None:
    """Give `write` what is there, as it comes. Raises Problem where it cannot be read.

    idle_seconds: that the host may pause. seconds: that all of it may take, from the look-up of the host's name on.
    """
    # A redirect is not followed: another address may be of another host.
    client = httpx.AsyncClient(verify=_certificates(), timeout=idle_seconds, follow_redirects=False)
    try:
        with anyio.fail_after(seconds):
            async with client, client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
                if answer.is_redirect:
                    raise Problem("download_failed", "the host answered with a redirect, which is not followed")
                if not answer.is_success:
                    raise Problem("download_failed", f"the host answered with status {answer.status_code}")
                async for chunk in answer.aiter_raw():
                    await write(chunk)
    except TimeoutError:
        raise Problem("download_failed", f"the download took longer than {seconds:g} seconds") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Problem("download_failed", f"the video cannot be downloaded: {type(error).__name__}") from None


@cache
def _certificates() -> ssl.SSLContext:
    """Those of the system; reading them takes longer than a request."""
    return ssl.create_default_context()
