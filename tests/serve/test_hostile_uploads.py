"""What a hostile upload costs: its own answer, and nothing else."""

from __future__ import annotations

import importlib
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from select import select
from typing import Any

import pytest

from conftest import moving_bar
from misbehaving import misbehave
from serving import Running, running, save_small, until
from timesformer.config import ClipShape, Preprocessing, Sampling
from timesformer.errors import VideoError
from timesformer.serve.problems import Problem
from timesformer.serve.settings import ServiceSettings
from timesformer.serve.worker import ALLOWED, Limits, Task, check_container, stride_of
from timesformer.video.decode import VideoFile
from timesformer.video.encode import write_video
from timesformer.video.source import open_video
from videos import write, write_image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"small": save_small(tmp_path_factory.mktemp("weights") / "small")}


@pytest.fixture(scope="module")
def service(weights: dict[str, Path]) -> Iterator[Running]:
    limits = {"max_mb": 0.5, "max_seconds": 3, "max_frames": 50, "max_pixels": 64 * 48}
    with running(weights, **limits) as found:
        yield found


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "good.mp4"
    write_video(path, moving_bar(1, 0), 10)
    return path.read_bytes()


def refusal(service: Running, content: Any, path: str = "/v1/predict", **params: Any) -> tuple[int, str]:
    """Status and code of a refusal, which leaves nothing behind and tells nothing of the server."""
    headers = {"content-type": "video/mp4"}
    answer = service.client.post(path, content=content, headers=headers, params=params)
    said = answer.json()
    assert set(said) == {"error", "detail"}
    assert "\n" not in said["detail"]
    for secret in (str(service.service.spool.folder), "Traceback", "/"):
        assert secret not in said["detail"].replace("video/*", "")
    until(lambda: not service.left)
    return answer.status_code, said["error"]


def answered(service: Running, content: bytes) -> bool:
    answer = service.client.post("/v1/predict", content=content, headers={"content-type": "video/mp4"})
    return answer.status_code == 200 and len(answer.json()["predictions"]) == 3


def test_files_that_are_no_videos(service: Running, good: bytes, tmp_path: Path) -> None:
    assert refusal(service, b"hello " * 100) == (415, "not_a_video")
    assert refusal(service, b"") == (400, "bad_request")
    assert refusal(service, bytes(10_000)) == (415, "not_a_video")
    # FFmpeg would open what these name.
    assert refusal(service, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n") == (415, "not_a_video")
    assert refusal(service, b"ffconcat version 1.0\nfile /etc/hostname\n") == (415, "not_a_video")
    assert refusal(service, good[: len(good) // 2])[0] in (415, 422)
    assert refusal(service, good[:-300] + bytes(300))[0] in (415, 422)
    write(tmp_path / "cut.mkv", 30)
    cut = (tmp_path / "cut.mkv").read_bytes()[:-2000]
    assert refusal(service, cut) == (422, "unreadable_video")
    assert answered(service, good)


def test_a_list_beside_a_video_is_not_opened(good: bytes, tmp_path: Path) -> None:
    """FFmpeg opens it, where nothing forbids it: in the first look, and when it is decoded."""
    (tmp_path / "good.mp4").write_bytes(good)
    listed = tmp_path / "listed"
    listed.write_text("ffconcat version 1.0\nfile good.mp4\n")
    with open_video(listed) as video:
        assert video.num_frames
    with pytest.raises(Problem, match="not_a_video"):
        check_container(listed, Limits.of(ServiceSettings()))
    with pytest.raises(VideoError, match="cannot be opened as a video"):
        VideoFile(listed, listed, ALLOWED)


def test_a_timeline_without_a_frame_rate_asks_for_the_window() -> None:
    """It is the client's to give, not the video's to have."""
    task = Task("windows", ClipShape(4, 16), Preprocessing(sampling=Sampling(method="span", rate=2)))
    with open_video(moving_bar(1, 0)) as video, pytest.raises(Problem, match="bad_parameter: window: missing"):
        stride_of(task, video)
    with open_video(moving_bar(1, 0), 10) as video:
        assert stride_of(task, video) == pytest.approx(0.4)


def test_limits(service: Running, good: bytes, tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", moving_bar(1, 0, 40), 10)
    assert refusal(service, (tmp_path / "long.mp4").read_bytes()) == (413, "too_long")
    write_video(tmp_path / "many.mp4", moving_bar(1, 0, 60), 30)
    assert refusal(service, (tmp_path / "many.mp4").read_bytes()) == (413, "too_many_frames")
    write_image(tmp_path / "large.png", 0, (50, 64))
    assert refusal(service, (tmp_path / "large.png").read_bytes()) == (413, "too_many_pixels")
    header = b"YUV4MPEG2 W12000 H12000 F25:1 Ip A1:1 C420\nFRAME\n" + bytes(1000)
    assert refusal(service, header) == (413, "too_many_pixels")
    assert refusal(service, good, "/v1/timeline", stride=1e-6) == (413, "too_many_windows")
    assert refusal(service, bytes(600_000)) == (413, "too_large")
    assert answered(service, good)


def connect(service: Running) -> socket.socket:
    host, port = service.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)))


HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\n"


def test_an_endless_body_ends(service: Running) -> None:
    """One that does not say how long it is: its client is told, and is not listened to for long."""
    answer = b""
    with connect(service) as client, suppress(ConnectionError):
        client.settimeout(240)
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        while True:
            client.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            if select([client], [], [], 0.001)[0] and not answer:
                answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ")
    until(lambda: not service.left)


@pytest.fixture
def impatient(service: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The service, for clients of which none is in time: a body may pause for a moment."""
    settings = service.service.settings.model_copy(update={"idle_seconds": 0.5})
    monkeypatch.setattr(service.service.receiver, "settings", settings)
    return service


def test_a_client_that_is_too_slow(impatient: Running) -> None:
    with connect(impatient) as client:
        client.sendall(HEAD + b"Content-Length: 99\r\n\r\nabc")
        assert client.recv(4096).startswith(b"HTTP/1.1 408 ")
    until(lambda: not impatient.left)


def test_a_client_that_drips(impatient: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pauses are short, and yet it does not keep its place for the 300 s of a body."""
    monkeypatch.setattr("timesformer.serve.envelope.LINGER", 0.1)
    started, answer = time.monotonic(), b""
    with connect(impatient) as client, suppress(ConnectionError):
        client.sendall(HEAD + b"Content-Length: 99999\r\n\r\n")
        while not answer and time.monotonic() < started + 60:
            client.sendall(b"x")
            if select([client], [], [], 0.05)[0]:
                answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408 ")
    until(lambda: not impatient.left)


@pytest.mark.parametrize("where", ["another field", "what follows the form"])
def test_all_of_a_form_counts(service: Running, good: bytes, where: str) -> None:
    """A limit of half a MiB, and a body that does not say how long it is."""

    def part(name: str, content: bytes) -> bytes:
        return b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), content)

    def sent(size: int) -> Iterator[bytes]:
        yield part("video", good)
        if where == "another field":
            yield part("other", bytes(size))
        yield b"--x--\r\n"
        if where != "another field":
            yield from (bytes(2**16) for _ in range(size // 2**16))

    def ask(size: int) -> int:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        return service.client.post("/v1/predict", content=sent(size), headers=headers).status_code

    assert ask(2**17) == 200
    assert ask(2**20) == 413
    until(lambda: not service.left)


def test_forms_that_are_none(service: Running, good: bytes) -> None:
    def refused(**given: Any) -> tuple[int, str]:
        answer = service.client.post("/v1/predict", **given)
        return answer.status_code, answer.json()["error"]

    kind = "multipart/form-data; boundary=x"
    part = b'--x\r\nContent-Disposition: form-data; name="video"; filename="a"\r\n\r\n' + good
    assert refused(content=part, headers={"content-type": kind}) == (400, "bad_request")  # it does not end
    assert refused(content=good, headers={"content-type": kind}) == (400, "bad_request")
    assert refused(content=part, headers={"content-type": "multipart/form-data"}) == (400, "bad_request")
    assert refused(content=part, headers={"content-type": kind + "x" * 1000}) == (400, "bad_request")
    assert refused(content=part + b"\r\n" + part + b"\r\n--x--\r\n", headers={"content-type": kind}) == (
        400,
        "bad_request",
    )
    assert refused(files={"other": good}) == (400, "bad_request")
    named = part.replace(b'"a"', b'"%s"' % (b"a" * 400_000)) + b"\r\n--x--\r\n"
    assert refused(content=named, headers={"content-type": kind}) == (400, "bad_request")
    assert refused(content=good, headers={"content-type": "text/plain"}) == (415, "unsupported_body")
    assert refused(content=good) == (415, "unsupported_body")
    until(lambda: not service.left)


def test_a_bomb_of_memory(weights: dict[str, Path], good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file of large frames, which a limit of pixels lets pass."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bomb = importlib.import_module("serve_abuse").png(5000, 5000)
    assert len(bomb) < 2**20
    with running(weights, max_pixels=2**26) as service:
        assert answered(service, bomb)
    with running(weights, decode_mb=64, max_pixels=2**26) as service:
        # A decoder without memory may say so, or that a frame cannot be decoded.
        assert refusal(service, bomb)[1] in ("too_much_memory", "unreadable_video")
        assert answered(service, good)


def test_decoders_that_crash_burn_and_lie(weights: dict[str, Path], good: bytes) -> None:
    with running(weights, decode=misbehave, decode_cpu_seconds=1, decode_mb=128) as service:
        crashed = (422, "decoder_crashed")
        wrong = [b"crash", b"write", b"junk", b"shapes", b"twice", b"eat"]
        assert {how: refusal(service, how) for how in wrong} == dict.fromkeys(wrong, crashed)
        assert refusal(service, b"crash", "/v1/timeline") == crashed
        assert refusal(service, b"burn") == (422, "decoder_timeout")
        assert answered(service, good)


def test_decoders_that_hang(weights: dict[str, Path]) -> None:
    with running(weights, decode=misbehave, decode_seconds=0.5) as service:
        assert refusal(service, b"hang") == refusal(service, b"half") == (422, "decoder_timeout")
        assert refusal(service, b"hang", "/v1/timeline") == (422, "decoder_timeout")
