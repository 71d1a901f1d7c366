"""Whether a request may come from a page of another site, which a service without a token must not answer."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from timesformer.serve.problems import Problem

SAFE = ("GET", "HEAD", "OPTIONS")  # their answers cannot be read from elsewhere: there is no CORS


def check_origin(method: str, headers: Headers, host: str | None) -> None:
    """Raises Problem where a browser may have been sent here by a page of another site.

    host: a name by which the service is asked, beside addresses and names without a dot. Any other may be the site's
    own, which its owner has pointed at this machine after the page was loaded: then the browser takes the service for
    that site (DNS rebinding). For requests that do something, browsers say where they come from.
    """
    authority = headers.get("host", "")
    if not _ours(authority, host):
        raise Problem(
            "forbidden", f"Host {authority}: expected an address, a name without dots, or that of --host; or a token"
        )
    if method in SAFE:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:  # behind a proxy, the origin may have another name than this service
        foreign = site not in ("same-origin", "none")
    else:
        foreign = origin is not None and origin.partition("://")[2] != authority
    if foreign:
        raise Problem("forbidden", f"Origin {origin or site}: expected a page of this service; or a token")


def _ours(authority: str, host: str | None) -> bool:
    try:
        name = urlsplit(f"//{authority}").hostname or ""
        if "." in name and name != (host or "").lower():
            ip_address(name)
    except ValueError:
        return False
    return True
