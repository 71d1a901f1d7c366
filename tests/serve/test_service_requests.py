"""What holds for every request: tokens, ids, metrics, logs; a full queue; clients that leave."""

from __future__ import annotations

import errno
import json
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import moving_bar
from misbehaving import breaks_off, slow
from serving import Running, running, save_small, until
from timesformer.serve import schema, uploads
from timesformer.serve.logs import LOGGER, JsonFormatter
from timesformer.serve.pages import Page
from timesformer.video.encode import write_video

VIDEO = {"content-type": "video/mp4"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {"small": save_small(tmp_path_factory.mktemp("weights") / "small")}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "good.mp4"
    write_video(path, moving_bar(1, 0), 10)
    return path.read_bytes()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("<title>page</title>")
    (folder / "parts").mkdir()
    (folder / "parts" / "list.js").write_text("export {}")
    (folder / "secret.txt").write_text("not of the page")
    return Page(folder)


@pytest.fixture(scope="module")
def service(weights: dict[str, Path], page: Page) -> Iterator[Running]:
    with running(weights, token="s3cret", page=page) as found:
        yield found


def test_the_api_asks_for_the_token_and_the_page_does_not(service: Running, good: bytes) -> None:
    client = service.client
    for path in ("/", "/page/parts/list.js", "/healthz", "/readyz"):
        assert client.get(path).status_code == 200
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/none"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    for given in ("s3cret", "Bearer", "Bearer s3cre", "Basic s3cret", "Bearer s3cret2", "Bearer \xfc"):
        headers = {"authorization": given.encode("latin-1")}
        assert client.post("/v1/predict", content=good, headers={**VIDEO, **headers}).status_code == 401
    allowed = client.post("/v1/predict", content=good, headers={**VIDEO, "authorization": "bearer s3cret"})
    assert allowed.status_code == 200


def test_the_page_may_load_nothing_from_elsewhere(service: Running) -> None:
    index, module = service.client.get("/"), service.client.get("/page/parts/list.js")
    assert (index.text, index.headers["content-type"]) == ("<title>page</title>", "text/html; charset=utf-8")
    assert module.headers["content-type"] == "text/javascript; charset=utf-8"
    for answer in (index, module):
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert not [
            sources for sources in policy.values() if "http" in sources or "*" in sources or "unsafe" in sources
        ]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers
    for name in ("secret.txt", "../settings.py", "%2e%2e/settings.py", "..%2fsettings.py", "/etc/passwd", "", "parts"):
        assert service.client.get(f"/page/{name}", headers={"authorization": "Bearer s3cret"}).status_code == 404
    detail = service.client.get("/page/secret.txt").json()["detail"]
    assert detail == "'secret.txt': not a file of the page; the page is /"


def test_every_request_has_an_id_a_line_and_its_metrics(
    weights: dict[str, Path], good: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    with running(weights) as service, caplog.at_level(logging.INFO, "timesformer.serve"):
        given = service.client.post("/v1/predict", content=good, headers={**VIDEO, "x-request-id": "abc-1"})
        assert given.headers["x-request-id"] == "abc-1"
        odd = service.client.post("/v1/predict", content=b"text", headers={**VIDEO, "x-request-id": "a b\tc"})
        assert len(odd.headers["x-request-id"]) == 32
        assert service.client.put("/v1/predict").json()["error"] == "method_not_allowed"
        assert service.client.get("/nothing").json()["error"] == "not_found"
        lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
        metrics = {
            sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(service.client.get("/metrics").text)
            for sample in family.samples
        }
    first, second = (line for line in lines if line.get("path") == "/v1/predict" and line["method"] == "POST")
    assert {name: first[name] for name in ("event", "level", "request_id", "status", "model", "upload_bytes")} == {
        "event": "request",
        "level": "info",
        "request_id": "abc-1",
        "status": 200,
        "model": "small",
        "upload_bytes": len(good),
    }
    assert (second["status"], second["error"], second["request_id"]) == (
        415,
        "not_a_video",
        odd.headers["x-request-id"],
    )
    assert metrics["timesformer_requests_total /v1/predict 200"] == 1
    assert metrics["timesformer_requests_total /v1/predict 415"] == 1
    assert metrics["timesformer_problems_total not_a_video"] == 1
    assert metrics["timesformer_upload_bytes_total"] == len(good) + 4
    assert metrics["timesformer_clips_total small"] == 3
    assert metrics["timesformer_clips_waiting small"] == 0
    assert metrics["timesformer_requests_running"] == 1  # its own


def test_the_description_has_valid_examples(weights: dict[str, Path]) -> None:
    with running(weights) as service:
        described = service.client.get("/openapi.json").json()
        assert service.client.get("/docs").status_code == 404  # it would load scripts from elsewhere
    for model, example in schema.EXAMPLES.values():
        model.model_validate(example)
    assert {"/v1/predict", "/v1/timeline", "/v1/explain", "/v1/features", "/v1/models", "/healthz"} <= set(
        described["paths"]
    )
    predict = described["paths"]["/v1/predict"]["post"]
    assert predict["requestBody"]["content"].keys() == {
        "multipart/form-data",
        "video/*",
        "application/octet-stream",
        "application/json",
    }
    examples = [answer["content"]["application/json"]["example"] for answer in predict["responses"].values()]
    assert {"error", "detail"} in map(set, examples)


def test_a_full_queue_answers_429(weights: dict[str, Path], good: bytes, tmp_path: Path) -> None:
    """Of 5 clips: a video has 3, so there is no place for a second one."""
    allowed = tmp_path / "allowed"
    content = good + b"|" + str(allowed).encode()
    answers: list[httpx.Response] = []
    with running(weights, decode=slow, queue_clips=5) as service:

        def ask() -> None:
            answers.append(httpx.post(f"{service.address}/v1/predict", content=content, headers=VIDEO, timeout=240))

        first = threading.Thread(target=ask)
        first.start()
        until(allowed.with_suffix(".begun").exists)
        for path in ("predict", "features", "timeline", "explain"):
            full = service.client.post(f"/v1/{path}", content=content, headers=VIDEO)
            assert (full.status_code, full.json()["error"], full.headers["retry-after"]) == (429, "busy", "1")
        allowed.touch()
        first.join()
        assert answers[0].status_code == 200
        assert service.client.post("/v1/predict", content=content, headers=VIDEO).status_code == 200
        until(lambda: not service.left)


@pytest.mark.parametrize("path", ["predict", "timeline", "explain", "features"])
def test_a_client_that_disconnects_ends_its_work(
    weights: dict[str, Path],
    good: bytes,
    tmp_path: Path,
    path: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    caplog.set_level(logging.INFO, "timesformer.serve")
    allowed = tmp_path / "allowed"
    content = good + b"|" + str(allowed).encode()
    with running(weights, decode=slow, workers=1) as service:
        host, port = service.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            head = f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: {len(content)}"
            client.sendall(head.encode() + b"\r\n\r\n" + content)
            until(allowed.with_suffix(".begun").exists)
        (process,) = (int(said.suffix[1:]) for said in tmp_path.glob("allowed.[0-9]*"))
        until(lambda: not Path(f"/proc/{process}").exists())
        until(lambda: not service.left)
        model = service.service.find(None)
        until(lambda: model.batcher.reserved == 0)
        until(lambda: caplog.records)
        line = json.loads(JsonFormatter().format(caplog.records[0]))
        assert (line["path"], line["status"], line["error"]) == (f"/v1/{path}", 499, "client_left")
        allowed.touch()
        assert service.client.post(f"/v1/{path}", content=content, headers=VIDEO).status_code == 200


def test_a_service_whose_engine_hangs_is_not_ready(weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with running(weights) as service:
        batcher = service.service.find(None).batcher
        assert service.client.get("/readyz").status_code == 200
        monkeypatch.setattr(batcher, "_computing_since", 0.0)  # long ago
        monkeypatch.setattr("timesformer.serve.batching.HUNG", 0.0)
        answer = service.client.get("/readyz")
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")


def test_several_clients_get_their_own_answers(weights: dict[str, Path], tmp_path: Path) -> None:
    with running(weights) as service:

        def ask(content: bytes) -> Any:
            return httpx.post(f"{service.address}/v1/predict", content=content, headers=VIDEO, timeout=240).json()

        contents = []
        for number in range(4):
            write_video(tmp_path / f"{number}.mp4", moving_bar(1 - 2 * (number % 2), number), 10)
            contents.append((tmp_path / f"{number}.mp4").read_bytes())
        alone = [ask(content) for content in contents]
        with ThreadPoolExecutor(8) as clients:
            together = list(clients.map(ask, contents * 2))
    scores = [[(best["label"], pytest.approx(best["score"], abs=1e-6)) for best in one["predictions"]] for one in alone]
    assert len({str(one) for one in alone}) == 4
    assert [[(best["label"], best["score"]) for best in one["predictions"]] for one in together] == scores * 2


def test_a_service_whose_engine_has_ended_is_not_ready(weights: dict[str, Path]) -> None:
    with running(weights) as service:
        assert service.client.get("/readyz").status_code == 200
        service.service.find(None).batcher.close()
        answer = service.client.get("/readyz")
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        assert answer.json()["detail"] == "small: the engine has ended; restart the service"
        assert service.client.get("/healthz").status_code == 200


def test_too_many_bodies_and_a_full_disk(
    weights: dict[str, Path], good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(weights, max_uploads=1) as service:
        host, port = service.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\n")
            client.sendall(b"Content-Length: 9\r\n\r\nabc")
            until(lambda: service.left)
            busy = service.client.post("/v1/predict", content=good, headers=VIDEO)
            assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
        until(lambda: not service.left)  # it has left
        assert service.client.post("/v1/predict", content=good, headers=VIDEO).status_code == 200
        with monkeypatch.context() as full:
            full.setattr("timesformer.serve.uploads._Writer._write", no_space)
            answer = service.client.post("/v1/predict", content=good, headers=VIDEO)
            assert (answer.status_code, answer.json()["error"]) == (503, "storage_full")
        until(lambda: not service.left)


def test_a_large_upload_is_written_and_removed_by_threads(
    weights: dict[str, Path], good: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small one is not; the answer is the same."""
    writers: list[bool] = []
    write = uploads._Writer._write

    def record(writer: uploads._Writer, held: bytearray) -> None:
        writers.append(threading.current_thread().name.startswith("AnyIO"))
        write(writer, held)

    monkeypatch.setattr(uploads._Writer, "_write", record)
    with running(weights) as service:
        small = service.client.post("/v1/predict", content=good, headers=VIDEO)
        monkeypatch.setattr(uploads, "SMALL", len(good) - 1)
        large = service.client.post("/v1/predict", content=good, headers=VIDEO)
        assert writers == [False, True]
        assert small.status_code == 200
        assert large.json() == small.json()
        until(lambda: not service.left)


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_in_a_timeline_is_its_last_line(weights: dict[str, Path], good: bytes) -> None:
    with running(weights, decode=breaks_off) as service:
        service.service.find(None).batcher.engine.views = 1  # a window at a time
        answer = service.client.post("/v1/timeline", params={"window": 0.2}, content=good, headers=VIDEO)
        assert answer.status_code == 200
        *rows, last = map(json.loads, answer.text.splitlines())
        assert len(rows) == 2
        assert last == {"error": "decoder_crashed", "detail": "the decoder crashed: exit code 3"}
        until(lambda: not service.left)
