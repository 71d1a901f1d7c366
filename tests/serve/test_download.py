"""Videos that the service fetches: from hosts that it was told of, and no others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import moving_bar
from serving import Running, running, save_small, until
from timesformer.serve.download import read_address
from timesformer.serve.problems import Problem
from timesformer.video.encode import write_video


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a video, a redirect, and a body that is larger than its service takes."""
    video = tmp_path_factory.mktemp("video") / "video.mp4"
    write_video(video, moving_bar(1, 0), 10)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
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
        read_address(body, ("good.example",))


def test_hosts_are_allowed_whole() -> None:
    def allowed(url: str, *hosts: str) -> bool:
        try:
            return read_address(b'{"url": "%s"}' % url.encode(), hosts).url == url
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
