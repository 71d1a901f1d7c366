"""Connections whose clients take too long, leave, or are cut off."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from select import select
from types import SimpleNamespace
from typing import Any

import h11
import httpx
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

from misbehaving import slow
from serving import Running, running, save_small, until
from timesformer.inference.timeline import WindowRow
from timesformer.serve import server
from timesformer.serve.job import Disconnected, Job
from timesformer.serve.logs import LOGGER, JsonFormatter

VIDEO = {"content-type": "video/mp4"}
UPLOAD = b"POST /v1/timeline HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: 3\r\n\r\nabc"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"small": save_small(tmp_path_factory.mktemp("weights") / "small")}


@pytest.fixture(scope="module")
def service(weights: dict[str, Path]) -> Iterator[Running]:
    with running(weights, workers=1) as found:
        yield found


def connect(service: Running) -> socket.socket:
    host, port = service.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)))


def read_answer(client: socket.socket) -> bytes:
    answer = b""
    while not answer.endswith(b"}"):
        more = client.recv(4096)
        assert more, answer
        answer += more
    return answer


@pytest.mark.parametrize("first", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_a_head_that_drips(service: Running, monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    """The first of a connection, and one that follows an answer, which may take its time."""
    ends = time.monotonic() + 60
    if not first:
        monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    with connect(service) as client, suppress(ConnectionError):
        if first:
            client.sendall(first)
            assert read_answer(client).startswith(b"HTTP/1.1 200 ")
            monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
        while not select([client], [], [], 0.02)[0]:
            assert time.monotonic() < ends
            client.sendall(b"x")
        assert client.recv(4096) == b""


def test_each_head_of_a_connection_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first byte that is not all of it; so a connection that is used may stay open for longer."""
    timers: list[Timer] = []

    def call_later(seconds: float, _: object) -> Timer:
        timers.append(Timer(seconds))
        return timers[-1]

    def data_received(connection: server.Connection, data: bytes) -> None:
        connection.conn.receive_data(data)
        while connection.conn.next_event() not in (h11.NEED_DATA, h11.PAUSED):
            pass

    monkeypatch.setattr(H11Protocol, "data_received", data_received)
    connection = object.__new__(server.Connection)
    connection.conn = h11.Connection(h11.SERVER)
    connection.loop = SimpleNamespace(call_later=call_later)  # type: ignore[assignment]
    for turn in range(1, 4):
        for part in (b"GET /healthz HTTP/1.1\r\n", b"Host: ", b"x\r\n"):
            connection.data_received(part)
            assert [timer.runs for timer in timers] == [False] * (turn - 1) + [True]
        connection.data_received(b"\r\n")
        assert not any(timer.runs for timer in timers)
        for event in (h11.Response(status_code=200, headers=[("Content-Length", "0")]), h11.EndOfMessage()):
            connection.conn.send(event)
        connection.conn.start_next_cycle()
    assert {timer.seconds for timer in timers} == {server.HEAD_SECONDS}


class Timer:
    def __init__(self, seconds: float) -> None:
        self.seconds, self.runs = seconds, True

    def cancel(self) -> None:
        self.runs = False


def test_answers_are_sent_at_once() -> None:
    """Nothing of an answer waits for the client to acknowledge what was sent before."""

    async def option() -> int:
        connected = asyncio.get_running_loop().create_future()
        listening = server.listen("127.0.0.1", 0)
        async with await asyncio.start_server(lambda _, writer: connected.set_result(writer), sock=listening):
            _, client = await asyncio.open_connection(*listening.getsockname())
            writer = await connected
            found: int = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for one in (writer, client):
                one.close()
        return found

    assert asyncio.run(option())


def test_too_many_connections(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 3)
    with running(weights) as service:
        held = [connect(service) for _ in range(3)]
        until(lambda: httpx.get(f"{service.address}/healthz", trust_env=False).status_code == 503)
        for client in held:
            client.close()
        until(lambda: httpx.get(f"{service.address}/healthz", trust_env=False).status_code == 200)


def test_a_client_that_does_not_read(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows fill what the system keeps for it; then the one place for timelines is free again."""
    ended = threading.Event()

    def rows(*_: Any) -> Iterator[WindowRow]:
        try:
            while True:
                yield WindowRow("x" * 2**16, 0.0, 1.0, False, False, "left", 1.0, {})
        finally:
            ended.set()

    monkeypatch.setattr(server, "READ_SECONDS", 0.3)
    monkeypatch.setattr(service.service, "timeline_rows", rows)
    with connect(service) as client:
        client.sendall(UPLOAD)
        assert ended.wait(60)
        until(lambda: not service.left and service.service.streaming.borrowed_tokens == 0)


def test_a_client_that_reads_slowly() -> None:
    """It may take longer than the limit for all of an answer, as long as it goes on."""
    left, aborted, later = [10 * server.READ_BYTES], list[bool](), list[tuple[Any, ...]]()
    connection = object.__new__(server.Connection)
    connection.transport = SimpleNamespace(  # type: ignore[assignment]
        get_write_buffer_size=lambda: left[0], abort=lambda: aborted.append(True)
    )
    connection.loop = SimpleNamespace(call_later=lambda _, *call: later.append(call))  # type: ignore[assignment]
    connection._time_reading()
    for read, ends in ((server.READ_BYTES, False), (server.READ_BYTES, False), (server.READ_BYTES - 1, True)):
        left[0] -= read
        call, *given = later.pop()
        call(*given)
        assert bool(aborted) == ends
        assert bool(later) != ends


def test_a_timeline_whose_engine_is_closed(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(*_: Any) -> Iterator[WindowRow]:
        yield WindowRow("x", 0.0, 1.0, False, False, "left", 1.0, {})
        raise Disconnected

    monkeypatch.setattr(service.service, "timeline_rows", rows)
    answer = service.client.post("/v1/timeline", content=b"abc", headers=VIDEO)
    row, last = map(json.loads, answer.text.splitlines())
    assert row["label"] == "left"
    assert last == {"error": "unavailable", "detail": "the service is stopping; retry later"}


@pytest.mark.parametrize("path", ["predict", "timeline"])
def test_what_is_cut_at_the_end_of_the_drain(
    weights: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    """Its client is told, and its line is in the log; there is no traceback."""
    monkeypatch.setattr(LOGGER, "propagate", True)
    caplog.set_level(logging.INFO, "timesformer.serve")
    allowed = tmp_path / "allowed"
    with running(weights, decode=slow, drain_seconds=0) as service, connect(service) as client:
        content = b"|" + str(allowed).encode()
        client.sendall(
            UPLOAD.replace(b"timeline", path.encode()).replace(b": 3", b": %d" % len(content))[:-3] + content
        )
        until(allowed.with_suffix(".begun").exists)
        service.stop()
        answer = bytearray()
        while chunk := client.recv(4096):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body) == {"error": "unavailable", "detail": "the service is stopping; retry later"}
    (line,) = (json.loads(JsonFormatter().format(record)) for record in caplog.records if record.name == LOGGER.name)
    assert (line["path"], line["status"], line["error"]) == (f"/v1/{path}", 503, "cancelled")
    assert not [record for record in caplog.records if record.exc_info]


def test_a_timeline_that_is_cut_says_so(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(job: Job, *_: Any) -> Iterator[WindowRow]:
        stopped = threading.Event()
        yield WindowRow("x", 0.0, 1.0, False, False, "left", 1.0, {})
        with job.stoppable(stopped.set):
            stopped.wait(240)
        raise Disconnected

    with running(weights, drain_seconds=0) as service:
        monkeypatch.setattr(service.service, "timeline_rows", rows)
        with service.client.stream("POST", "/v1/timeline", content=b"abc", headers=VIDEO) as answer:
            lines = answer.iter_lines()
            assert json.loads(next(lines))["label"] == "left"
            service.stop()
            assert [json.loads(line)["error"] for line in lines] == ["unavailable"]
