"""What every request gets, whatever answers it: an id, a line in the log, its metrics, headers of safety, and where a
token is asked for, a look at it."""

from __future__ import annotations

import hmac
import logging
import re
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from timesformer.serve.logs import log
from timesformer.serve.metrics import Metrics
from timesformer.serve.problems import Problem

ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
NOTES, REQUEST_ID = "timesformer.notes", "timesformer.request_id"  # in a scope: what the log says of a request
OPEN = ("/healthz", "/readyz", "/")  # without a token; and the page's files
PAGE = "/page/"
LINGER = 2.0  # seconds that the rest of a refused body is read and dropped, so that its client hears the answer


def notes(scope: MutableMapping[str, Any]) -> dict[str, Any]:
    """What the line of a request in the log will have, to be added to."""
    found: dict[str, Any] = scope.setdefault(NOTES, {})
    return found


class Envelope:
    """ASGI middleware. token: what requests must bring as `Authorization: Bearer TOKEN`; None for anybody."""

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None) -> None:
        self.app, self.metrics, self.token = app, metrics, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if ID.fullmatch(given) else uuid.uuid4().hex
        scope[REQUEST_ID] = request_id
        began, status, body = time.perf_counter(), 0, _Body(receive)

        async def reply(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = MutableHeaders(scope=message)
                if status >= 400 and scope["method"] not in ("GET", "HEAD"):
                    added["Connection"] = "close"  # it may never end
                    if body.begun or "expect" not in headers:
                        await body.drop()
                added["X-Request-Id"] = request_id
                added["X-Content-Type-Options"] = "nosniff"
                added["Referrer-Policy"] = "no-referrer"
                added.setdefault("Cache-Control", "no-store")
            await send(message)

        with self.metrics.running.track_inprogress():
            try:
                if self._refuses(scope["path"], headers):
                    problem = Problem("unauthorized", "expected the header Authorization: Bearer TOKEN")
                    notes(scope)["error"] = problem.code
                    await problem.response()(scope, body, reply)
                else:
                    await self.app(scope, body, reply)
            except Exception:
                log("failed", logging.ERROR, exc_info=True, request_id=request_id)
                notes(scope)["error"] = "internal"
                if not status:
                    problem = Problem("internal", f"the service failed; its log has the request {request_id}")
                    await problem.response()(scope, body, reply)
        seconds = time.perf_counter() - began
        said = notes(scope)
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        if "error" in said:
            self.metrics.problems.labels(said["error"]).inc()
        log(
            "request",
            request_id=request_id,
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=round(seconds, 4),
            client=(scope.get("client") or ("",))[0],
            **said,
        )

    def _refuses(self, path: str, headers: Headers) -> bool:
        if self.token is None or path in OPEN or path.startswith(PAGE):
            return False
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode())


class _Body:
    """Receives the messages of a request. begun, ended: whether any of its body has come, and all of it."""

    def __init__(self, receive: Receive) -> None:
        self.receive, self.begun, self.ended = receive, False, False

    async def __call__(self) -> Message:
        message = await self.receive()
        self.begun, self.ended = True, not message.get("more_body", False)
        return message

    async def drop(self) -> None:
        """Read what still comes, for a moment: a connection that is closed before is reset, and its client may never
        see the answer."""
        with anyio.move_on_after(LINGER):
            while not self.ended:
                await self()
