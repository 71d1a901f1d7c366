"""Videos that the service fetches: from hosts that it was told of, and no others."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import moving_bar
from serving import Running, running, save_small, until
from timesformer.serve.download import read_url
from timesformer.serve.problems import Problem
from timesformer.serve.settings import ServiceSettings
from timesformer.video.encode import write_video


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a video, a redirect, a body that is larger than its service takes, and a head and a body that come
    byte by byte and have no end."""
    video = tmp_path_factory.mktemp("video") / "video.mp4"
    write_video(video, moving_bar(1, 0), 10)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/drip"):
                self.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"\r\n" * (self.path == "/drip-body"))
                while True:  # until its client closes the connection
                    self.wfile.write(b"x")
                    time.sleep(0.02)
            status = {"/video.mp4": 200, "/large": 200, "/away": 302}.get(self.path, 404)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/video.mp4")
            self.end_headers()
            if status == 200:
                self.wfile.write(video.read_bytes() if self.path == "/video.mp4" else bytes(2**21))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def service(host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    weights = {"small": save_small(tmp_path_factory.mktemp("weights") / "small")}
    with running(weights, allow_urls=(host,), max_mb=1) as found:
        yield found


def test_urls(service: Running, host: str) -> None:
    def fetch(url: object) -> tuple[int, str]:
        answer = service.client.post("/v1/predict", json={"url": url})
        return answer.status_code, answer.json().get("error", answer.json().get("video"))

    assert fetch(f"http://{host}/video.mp4") == (200, f"http://{host}/video.mp4")
    assert fetch(f"http://{host}/none") == fetch(f"http://{host}/away") == (422, "download_failed")
    assert fetch(f"http://{host}/large") == (413, "too_large")
    assert fetch("http://127.0.0.1:1/video.mp4") == (400, "url_not_allowed")
    until(lambda: not service.left)


@pytest.mark.parametrize("path", ["drip-head", "drip-body"])
def test_a_host_that_drips(service: Running, host: str, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """No pause is long enough for a limit, and yet it ends."""
    monkeypatch.setattr(service.service.receiver, "settings", short(service, upload_seconds=0.3))
    answer = service.client.post("/v1/predict", json={"url": f"http://{host}/{path}"}, timeout=60)
    assert answer.status_code == 422
    assert answer.json() == {"error": "download_failed", "detail": "the download took longer than 0.3 seconds"}
    until(lambda: not service.left)


def test_a_client_that_leaves_ends_the_download(service: Running, host: str) -> None:
    body = b'{"url": "http://%s/drip-body"}' % host.encode()
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(service.address.rpartition(":")[2]))) as client:
        client.sendall(head % len(body) + body)
        until(lambda: service.left)
    ended = time.monotonic() + 60  # long before the 300 s of a body
    until(lambda: not service.left)
    assert time.monotonic() < ended
    assert service.service.receiver.receiving == 0


def short(service: Running, **limits: float) -> ServiceSettings:
    """The service's settings with other limits of time."""
    return service.service.settings.model_copy(update=limits)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"url": 5}',
        b'{"url": "video.mp4"}',
        b'{"url": "file:///etc/passwd"}',
        b'{"url": "ftp://good.example/a"}',
        b'{"url": "http://user@good.example/a"}',
        b'{"url": "http://good.example/a b"}',
        b'{"url": "http://good.example/\\r\\nHost: x"}',
        b'{"url": "http://good.example:99999/"}',
        b'{"url": "http://[good.example/"}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_url(body: bytes) -> None:
    with pytest.raises(Problem, match="bad_request"):
        read_url(body, ("good.example",))


def test_hosts_are_allowed_whole() -> None:
    def allowed(url: str, *hosts: str) -> bool:
        try:
            return read_url(b'{"url": "%s"}' % url.encode(), hosts) == url
        except Problem as problem:
            return problem.code != "url_not_allowed"

    assert allowed("https://good.example/a.mp4?x=1", "good.example")
    assert allowed("https://GOOD.example:8443/a", "good.example")
    assert allowed("https://good.example/a", "good.example:443")
    assert not allowed("http://good.example/a", "good.example:443")
    assert not allowed("https://good.example/a")
    for url in (
        "https://good.example.evil/",
        "https://evil/good.example",
        "https://evil#good.example",
        "http://10.0.0.1",
    ):
        assert not allowed(url, "good.example")
