"""A timeline as NDJSON, each row sent when it is known.

What goes wrong before the first row is an answer with its status; later it is the last line.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.streams.memory import MemoryObjectSendStream
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from timesformer.files import as_json
from timesformer.inference.timeline import TimelineOptions, WindowRow
from timesformer.serve.envelope import REQUEST_ID, log_fields
from timesformer.serve.job import Disconnected, Job
from timesformer.serve.logs import log
from timesformer.serve.models import ServedModel
from timesformer.serve.problems import Problem, stopping
from timesformer.serve.service import Service
from timesformer.serve.uploads import Upload

AHEAD = 16  # rows that may wait for a client that reads slowly
NDJSON = "application/x-ndjson"


class TimelineResponse(Response):
    """Receives the upload, computes, and sends rows; all of it ends when the client leaves.

    receiving: a context with the upload.
    """

    def __init__(
        self,
        service: Service,
        model: ServedModel,
        receiving: AbstractAsyncContextManager[Upload],
        options: TimelineOptions,
    ) -> None:
        super().__init__()
        self.service, self.model, self.receiving, self.options = service, model, receiving, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun, ended = False, False

        async def follow(message: Message) -> None:
            nonlocal begun, ended
            begun, ended = True, not message.get("more_body", True)
            await send(message)

        try:
            async with self.receiving as upload:
                request = Request(scope, receive)
                await self.service.run(request, lambda job: self._send_rows(job, upload, scope, follow))
        except asyncio.CancelledError:  # the service ends; a client that leaves raises Disconnected
            if begun and not ended:
                await send(_line(stopping().as_dict(), last=True))
            raise
        except Problem as problem:  # nothing has been sent
            log_fields(scope)["error"] = problem.code
            await problem.response()(scope, receive, send)
        except Disconnected:
            log_fields(scope)["error"] = "client_left"

    async def _send_rows(self, job: Job, upload: Upload, scope: Scope, send: Send) -> None:
        """Raises Problem where there is one before the first row."""
        sending, items = anyio.create_memory_object_stream[WindowRow | Problem](AHEAD)
        early: Problem | None = None
        async with anyio.create_task_group() as group, items:
            group.start_soon(self._compute, job, upload, sending, scope[REQUEST_ID])
            rows = 0
            async for item in items:
                if isinstance(item, Problem):
                    if not rows:
                        early = item
                    else:
                        log_fields(scope)["error"] = item.code
                        await send(_line(item.as_dict(), last=True))
                    break
                if not rows:
                    headers = [(b"content-type", NDJSON.encode()), (b"x-accel-buffering", b"no")]
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                await send(_line(item.as_dict()))
                rows += 1
            else:
                await send(_line({"video": upload.name, "done": True}, last=True))
        log_fields(scope)["windows"] = rows
        if early is not None:
            raise early

    async def _compute(
        self, job: Job, upload: Upload, sending: MemoryObjectSendStream[WindowRow | Problem], request_id: str
    ) -> None:
        async with sending:
            try:
                await anyio.to_thread.run_sync(self._put_rows, job, upload, sending, limiter=self.service.streaming)
            except anyio.BrokenResourceError:  # nobody reads any more
                return
            except Disconnected:  # an engine that is closed raises it too, while the client still waits
                problem = stopping()
            except Problem as error:
                problem = error
            except Exception:
                log("failed", logging.ERROR, exc_info=True, request_id=request_id)
                problem = Problem("internal", "the service failed")
            else:
                return
            with suppress(anyio.BrokenResourceError):
                await sending.send(problem)

    def _put_rows(self, job: Job, upload: Upload, sending: MemoryObjectSendStream[WindowRow | Problem]) -> None:
        rows = self.service.timeline_rows(job, self.model, upload, self.options)
        try:
            for row in rows:
                anyio.from_thread.run(sending.send, row)
        finally:
            rows.close()


def _line(row: dict[str, Any], *, last: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": as_json(row).encode() + b"\n", "more_body": not last}
