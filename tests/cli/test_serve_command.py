"""`timesformer serve` as its users meet it: a process that answers, drains and ends."""

from __future__ import annotations

import errno
import json
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from os import kill
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from commands import Command, assert_one_line
from conftest import moving_bar
from ports import kept_port
from serving import save_small
from started import Started, wait_until
from timesformer.cli.main import app
from timesformer.serve.settings import ServiceSettings
from timesformer.settings import make
from timesformer.video.encode import write_video


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small(tmp_path_factory.mktemp("weights") / "small")


# The process that this one is forked from knows its folder for temporary files already.
PROGRAM = """
import tempfile
from timesformer.cli.main import main
if __name__ == "__main__":
    tempfile.tempdir = None
    main()
"""


def test_sigterm_lets_requests_end(weights: Path, tmp_path: Path) -> None:
    """A request that has begun goes on to its end, nobody new is let in, and the folder of uploads is gone."""
    write_video(tmp_path / "video.mp4", moving_bar(1, 0, 40), 10)
    content = (tmp_path / "video.mp4").read_bytes()
    spool = tmp_path / "spool"
    spool.mkdir()
    with kept_port() as port:
        words = ("serve", weights, f"other={weights}", "--port", port, "--device", "cpu", "--threads", 1)
        (tmp_path / "program.py").write_text(PROGRAM)
        process = Started(*words, program=tmp_path / "program.py", environment={"TMPDIR": spool})
        said = process.folder / "err"
        wait_until(lambda: said.exists() and "timesformer: small, other at" in said.read_text(), process)
        with closing(HTTPConnection("127.0.0.1", port, timeout=240)) as client, killed(process):
            client.request("GET", "/v1/models")
            assert [model["name"] for model in json.load(client.getresponse())["models"]] == ["small", "other"]
            client.putrequest("POST", "/v1/timeline?window=1&stride=0.5")
            client.putheader("Content-Type", "video/mp4")
            client.putheader("Content-Length", str(len(content)))
            client.endheaders(content[:100])
            wait_until(lambda: list(spool.glob("timesformer-serve-*/*")), process)
            kill(process.pid, signal.SIGTERM)
            wait_until(lambda: refuses(port), process)
            client.send(content[100:])
            *rows, last = map(json.loads, client.getresponse().read().splitlines())
        assert last == {"video": "upload", "done": True}
        assert [row["start_s"] for row in rows] == [number / 2 for number in range(7)]
        out, err = process.communicate()
    assert process.returncode == 0
    assert out == ""
    logged = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [line["path"] for line in logged if line["event"] == "request"] == ["/v1/models", "/v1/timeline"]
    assert not list(spool.iterdir())


@contextmanager
def killed(process: Started) -> Iterator[None]:
    """A process that does not outlive what goes wrong."""
    try:
        yield
    except BaseException:
        process.kill()
        raise


def refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def test_what_cannot_be_served_is_one_line(
    command: Command, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_one_line(
            command("serve", weights, "--port", port),
            f"127.0.0.1:{port}: cannot be listened at: Address already in use; name another --host or --port",
        )
    assert_one_line(command("serve", weights, weights, "--port", 0), "a second model named small")
    assert_one_line(command("serve", tmp_path / "none", "--port", 0), "none")
    assert_one_line(command("serve", weights, "--max-mb", 0), "max_mb is 0")
    for hosts in ("", "a,,b", "https://a", "a/b", "*.a", "a:x", "a:65536"):
        assert_one_line(command("serve", weights, "--allow-urls", hosts), "; expected HOST, HOST:PORT or [IPV6]:PORT")
    (tmp_path / "token").write_text("two words\n")
    assert_one_line(command("serve", weights, "--token-file", tmp_path / "token"), "expected a token of printable")
    assert_one_line(command("serve", weights, "--token-file", tmp_path / "none"), "No such file")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as full:
        full.setattr("timesformer.serve.process.CONTEXT.Process.start", no_process)
        assert_one_line(
            command("serve", weights, "--port", 0, "--device", "cpu"), "the system starts no process to decode"
        )
    assert not list(tmp_path.glob("timesformer-serve-*"))
    for name in [name for name in sys.modules if name.startswith("timesformer.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert_one_line(command("serve", weights), "serve needs uvicorn: pip install '.[serve]' in the checkout")


def no_process(*_: object) -> None:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_hosts_of_urls_are_compared_as_urls_have_them() -> None:
    given = ("Good.Example", " b:80", "[::1]", "[FE80::1]:8080")
    settings = make(ServiceSettings, {"allow_urls": given}, "serve")
    assert settings.allow_urls == ("good.example", "b:80", "::1", "fe80::1:8080")
    for url, host in (("http://GOOD.example/a", "good.example"), ("http://[::1]/a", "::1")):
        assert urlsplit(url).hostname == host


def test_the_help_has_the_defaults_of_the_settings() -> None:
    """They are written beside the options, since the settings would make every command start later."""
    from typer.main import get_command

    options = {one.name: one for one in get_command(app).commands["serve"].params}  # type: ignore[attr-defined]
    fields = {name: field for name, field in ServiceSettings.model_fields.items() if name in options}
    shown = {name: options[name].show_default for name in fields if name not in ("workers", "allow_urls")}
    assert len(shown) == 8
    assert {name: float(text) for name, text in shown.items()} == {name: fields[name].default for name in shown}
