"""What a client is told when it gets no answer: a status, a short code, and one sentence."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

# Every code that there is, with its status.
CODES = {
    "bad_request": 400,
    "bad_parameter": 400,
    "unknown_parameter": 400,
    "upload_stalled": 408,
    "unauthorized": 401,
    "forbidden": 403,
    "url_not_allowed": 400,
    "not_found": 404,
    "unknown_model": 404,
    "method_not_allowed": 405,
    "too_large": 413,
    "too_long": 413,
    "too_many_pixels": 413,
    "too_many_frames": 413,
    "too_many_windows": 413,
    "too_much_memory": 413,
    "unsupported_body": 415,
    "not_a_video": 415,
    "unreadable_video": 422,
    "decoder_crashed": 422,
    "decoder_timeout": 422,
    "explain_timeout": 422,
    "not_supported": 422,
    "download_failed": 422,
    "busy": 429,
    "internal": 500,
    "unavailable": 503,
    "storage_full": 503,
}


class Problem(Exception):  # noqa: N818
    """Why a request gets no answer.

    Attributes: `code`, one of CODES; `status`; `detail`, a sentence without names of the server's files; `retry_after`,
    seconds after which the same request may get one.
    """

    def __init__(self, code: str, detail: str, retry_after: int | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.status, self.detail, self.retry_after = code, CODES[code], detail, retry_after

    def as_dict(self) -> dict[str, Any]:
        """What a body, or the last line of a timeline, has."""
        return {"error": self.code, "detail": self.detail}

    def response(self) -> JSONResponse:
        """The same as an answer."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.as_dict(), self.status, headers)


def stopping() -> Problem:
    """Of a service that ends before the request does."""
    return Problem("unavailable", "the service is stopping; retry later")
