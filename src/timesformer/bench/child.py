"""A measurement in a process of its own, whose memory and time are limited and whose end harms nobody.

`python -m timesformer.bench.child MODULE:FUNCTION` reads the function's arguments as JSON and writes what it returns.
"""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from timesformer.confined import go_first
from timesformer.errors import SettingError, TimesformerError

PREFIX = "bench-result "  # of the line with the answer; others may print too
WATCH = 30.0  # seconds between looks at what it does
NO_MEMORY = ("out of memory", "allocate memory", "bad_alloc", "not enough memory", "could not create a memory")


class EndedError(TimesformerError):
    """A measurement has ended without a result; `status` says how: "out of memory", "too slow" or "failed"."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def run_apart(
    function: str,
    arguments: dict[str, Any],
    *,
    memory_limit: float | None = None,
    time_limit: float | None = None,
    watch: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """What MODULE:FUNCTION of this package returns for keyword arguments (of JSON's types) in a new process.

    memory_limit: GB (1e9 bytes) of memory that process may take, Linux only; time_limit: seconds it may last. watch:
    called every 30 s meanwhile. Raises EndedError where it meets a limit or fails, SettingError where it raises that.
    """
    if memory_limit is not None and not sys.platform.startswith("linux"):
        raise SettingError(f"a memory limit ({memory_limit:g} GB) needs Linux; this is {sys.platform}")
    words = [sys.executable, "-W", "ignore", "-m", "timesformer.bench.child", function]
    given = json.dumps({"arguments": arguments, "memory_limit": memory_limit})
    # A session of its own: Ctrl-C is for the parent, which then ends the child.
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, errors = _communicate(process, given, time_limit, watch)
        finally:
            process.kill()
    answers = [line.removeprefix(PREFIX) for line in out.splitlines() if line.startswith(PREFIX)]
    if answers:
        answer: dict[str, Any] = json.loads(answers[-1])
        if "setting" in answer:
            raise SettingError(answer["setting"])
        if "status" in answer:
            raise EndedError(answer["status"], answer["reason"])
        return dict(answer["result"])
    raise _without_answer(process.returncode, errors, memory_limit)


def _communicate(
    process: subprocess.Popen[str], given: str, time_limit: float | None, watch: Callable[[], object]
) -> tuple[str, str]:
    end = time.monotonic() + time_limit if time_limit is not None else float("inf")
    text: str | None = given
    while True:
        try:
            return process.communicate(text, timeout=max(0.0, min(WATCH, end - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= end:
                raise EndedError("too slow", f"not done within {time_limit:g} s") from None
            text = None  # it has it
            watch()


def _without_answer(code: int, errors: str, memory_limit: float | None) -> EndedError:
    """Why a process ended without a word: the kernel or a failed allocation in C++ ends it from outside."""
    last = (errors.strip().splitlines() or [""])[-1]
    if code == -signal.SIGKILL:
        return EndedError("out of memory", "ended by the system, which had no memory left")
    if code < 0 and (memory_limit is not None or _speaks_of_memory(errors)):
        return EndedError("out of memory", f"ended by signal {-code} at its memory limit; {last}".rstrip("; "))
    return EndedError("failed", f"exit code {code}; {last}".rstrip("; "))


def _speaks_of_memory(text: str) -> bool:
    return any(words in text.lower() for words in NO_MEMORY)


def _limit_memory(gigabytes: float) -> None:
    """Private memory alone is limited: libraries and files that are mapped do not count."""
    import resource

    size = int(gigabytes * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _main() -> None:
    given = json.load(sys.stdin)
    go_first()
    if given["memory_limit"] is not None:
        _limit_memory(given["memory_limit"])
    module, name = sys.argv[1].split(":")
    try:
        answer = {"result": getattr(importlib.import_module(module), name)(**given["arguments"])}
    except SettingError as error:
        answer = {"setting": str(error)}
    except (RuntimeError, MemoryError) as error:  # torch's OutOfMemoryError is a RuntimeError
        first = (str(error).splitlines() or [""])[0]
        full = isinstance(error, MemoryError) or _speaks_of_memory(str(error))
        answer = {"status": "out of memory" if full else "failed", "reason": f"{type(error).__name__}: {first}"}
    except TimesformerError as error:
        answer = {"status": "failed", "reason": str(error)}
    print(PREFIX + json.dumps(answer), flush=True)


if __name__ == "__main__":
    _main()
