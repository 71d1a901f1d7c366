"""What every request gets, whatever answers it: an id, a line in the log, its metrics, headers of safety, and where a
token is asked for, a look at it."""

from __future__ import annotations

import asyncio
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
from timesformer.serve.origins import check_origin
from timesformer.serve.problems import Problem, stopping

ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
FIELDS, REQUEST_ID = "timesformer.fields", "timesformer.request_id"  # in a scope: what the log says of a request
CLIENT_LEFT = 499  # the status of a request whose client has left: in the log and the metrics alone
OPEN = ("/healthz", "/readyz", "/")  # without a token; and the page's files
PAGE = "/page/"
LINGER = 2.0  # seconds that the rest of a refused body is read and dropped, so that its client hears the answer


def log_fields(scope: MutableMapping[str, Any]) -> dict[str, Any]:
    """What the line of a request in the log will have, to be added to."""
    found: dict[str, Any] = scope.setdefault(FIELDS, {})
    return found


class Envelope:
    """ASGI middleware. token: what requests must bring as `Authorization: Bearer TOKEN`; None for anybody, but for what
    `check_origin` refuses. host: as there."""

    def __init__(self, app: ASGIApp, metrics: Metrics, token: str | None, host: str | None) -> None:
        self.app, self.metrics, self.token, self.host = app, metrics, token, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if ID.fullmatch(given) else uuid.uuid4().hex
        scope[REQUEST_ID] = request_id
        started, status, body = time.perf_counter(), 0, _Body(receive)

        async def reply(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = MutableHeaders(scope=message)
                if status >= 400 and scope["method"] not in ("GET", "HEAD"):
                    added["Connection"] = "close"  # it may never end
                    if body.started or "expect" not in headers:
                        await body.drop()
                added["X-Request-Id"] = request_id
                added["X-Content-Type-Options"] = "nosniff"
                added["Referrer-Policy"] = "no-referrer"
                added.setdefault("Cache-Control", "no-store")
            await send(message)

        with self.metrics.running.track_inprogress():
            try:
                await self._answer(scope, headers, body, reply)
            except asyncio.CancelledError:  # the time that requests have to end is over; the server would log it all
                log_fields(scope)["error"] = "cancelled"
                if not status:
                    body.ended = True  # there is no time for what is left of it
                    await stopping().response()(scope, body, reply)
            except Exception:
                log("failed", logging.ERROR, exc_info=True, request_id=request_id)
                log_fields(scope)["error"] = "internal"
                if not status:
                    problem = Problem("internal", f"the service failed; its log has the request {request_id}")
                    await problem.response()(scope, body, reply)
            finally:
                self._note(scope, status or CLIENT_LEFT, time.perf_counter() - started)

    async def _answer(self, scope: Scope, headers: Headers, body: Receive, reply: Send) -> None:
        try:
            self._check(scope, headers)
        except Problem as problem:
            log_fields(scope)["error"] = problem.code
            await problem.response()(scope, body, reply)
        else:
            await self.app(scope, body, reply)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raises Problem for a request without the token, or that another site may have sent where there is none."""
        path = scope["path"]
        if self.token is None:
            check_origin(scope["method"], headers, self.host)
        elif path not in OPEN and not path.startswith(PAGE):
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer":
                raise Problem("unauthorized", "no token; expected the header Authorization: Bearer TOKEN")
            if not hmac.compare_digest(given.strip().encode(), self.token.encode()):
                raise Problem("unauthorized", "the token is not this service's")

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        """The line of a request in the log, and its metrics."""
        fields = log_fields(scope)
        route = getattr(scope.get("route"), "path", "other")
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        if "error" in fields:
            self.metrics.problems.labels(fields["error"]).inc()
        log(
            "request",
            request_id=scope[REQUEST_ID],
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=round(seconds, 4),
            client=(scope.get("client") or ("",))[0],
            **fields,
        )


class _Body:
    """Receives the messages of a request. started, ended: whether any of its body has come, and all of it."""

    def __init__(self, receive: Receive) -> None:
        self.receive, self.started, self.ended = receive, False, False

    async def __call__(self) -> Message:
        message = await self.receive()
        self.started, self.ended = True, not message.get("more_body", False)
        return message

    async def drop(self) -> None:
        """Read what still comes, for a moment: a connection that is closed before is reset, and its client may never
        see the answer."""
        with anyio.move_on_after(LINGER):
            while not self.ended:
                await self()
