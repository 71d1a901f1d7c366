"""Logs as lines of JSON on standard error, one an event."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("timesformer.serve")
EXTRA = "fields"  # of a record: what its line has beside time, level and event


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, event, its fields, and the traceback of an error."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, EXTRA, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def use_json_logs() -> None:
    """From now on the service, and uvicorn where it warns, log to standard error alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    for name, level in (("timesformer.serve", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def log(event: str, level: int = logging.INFO, *, exc_info: bool = False, **fields: Any) -> None:
    """Log an event. exc_info: with the traceback of the error that is being handled; fields: what JSON can hold."""
    LOGGER.log(level, event, extra={EXTRA: fields}, exc_info=exc_info)
