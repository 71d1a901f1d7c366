"""Requests that a page of another site sends through a browser, to a service without a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from serving import Running, running, save_small
from timesformer.serve.origins import check_origin
from timesformer.serve.problems import Problem


def accepted(method: str = "POST", name: str | None = None, **headers: str) -> bool:
    try:
        check_origin(method, Headers({key.replace("_", "-"): value for key, value in headers.items()}), name)
    except Problem as problem:
        return problem.code != "forbidden"
    return True


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "192.168.0.7:80", "localhost:8080", "LOCALHOST", "serve:80", ""],
)
def test_hosts_that_are_nobody_elses(host: str) -> None:
    assert accepted("GET", host=host)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[::1", "evil.example."]
)
def test_hosts_that_may_be_another_sites(host: str) -> None:
    assert not accepted("GET", host=host)
    assert not accepted("GET", "good.example", host=host)


def test_the_host_that_is_listened_at() -> None:
    assert accepted("GET", "Good.example", host="good.EXAMPLE:8080")


def test_origins() -> None:
    here = "127.0.0.1:8080"
    assert accepted(host=here)  # no browser
    assert accepted(host=here, origin=f"http://{here}")
    assert accepted(host=here, origin="https://good.example", sec_fetch_site="same-origin")  # behind a proxy
    assert accepted("GET", host=here, origin="http://evil.example")
    for origin in (
        "http://evil.example",
        "http://127.0.0.1:8081",
        "http://127.0.0.1",
        "null",
        "https://localhost:8080",
    ):
        assert not accepted(host=here, origin=origin)
    assert not accepted(host=here, origin=f"http://{here}", sec_fetch_site="cross-site")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running({"small": save_small(tmp_path_factory.mktemp("weights") / "small")}) as found:
        yield found


def test_a_service_without_a_token(service: Running) -> None:
    rebound = service.client.get("/v1/models", headers={"host": "evil.example"})
    assert (rebound.status_code, rebound.json()["error"]) == (403, "forbidden")
    headers = {"origin": "http://evil.example", "content-type": "video/mp4"}
    foreign = service.client.post("/v1/predict", content=b"abc", headers=headers)
    assert (foreign.status_code, foreign.json()["error"]) == (403, "forbidden")


def test_a_token_is_enough(tmp_path: Path) -> None:
    with running({"small": save_small(tmp_path / "small")}, token="s3cret") as service:
        headers = {"host": "good.example", "authorization": "Bearer s3cret"}
        assert service.client.get("/v1/models", headers=headers).status_code == 200
