"""A decoder that a file has taken over: nothing that it says costs more than its own request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from misbehaving import misbehave
from serving import Running, running, save_small, until, with_decode
from timesformer.config import ClipShape, Preprocessing
from timesformer.serve.job import Job
from timesformer.serve.problems import Problem
from timesformer.serve.settings import ServiceSettings
from timesformer.serve.worker import Task, decode_upload

SEEN = {"frames": 4, "of": 10, "spanned": 1.0, "seconds": 1.0}
VIEWS = [3, 3, 4, 16, 16]
PLACES = [{"numbers": [0, 1, 2, 3], "top": 0, "left": left} for left in (0, 2, 5)]
EXPLAINED: dict[str, Any] = {
    "places": PLACES,
    "size": [24, 32],
    "scaled": [16, 21],
    "frames": [0, 1, 2, 3],
    "seconds": [0.0, 0.1, 0.2, 0.3],
    "seen": SEEN,
    "shapes": [VIEWS, [3, 4, 24, 32]],
}
WINDOW = {"begin": 0.0, "length": 4.0, "first": 0, "stop": 4, "start": 0.0, "end": 0.4}
CRASHED = (422, "decoder_crashed")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    weights = {"small": save_small(tmp_path_factory.mktemp("weights") / "small")}
    with running(weights, decode=misbehave, decode_mb=128) as found:
        yield found
        until(lambda: not found.left)


def said(service: Running, path: str, *headers: Any) -> tuple[int, str]:
    """What comes of these messages; `error` is none where they are believed."""
    content = "\n".join(json.dumps(header) for header in (*headers, {"end": True})).encode()
    answer = service.client.post(f"/v1/{path}", content=content, headers={"content-type": "video/mp4"})
    if answer.headers["content-type"] == "video/mp4":
        return answer.status_code, ""
    last = json.loads(answer.text.splitlines()[-1])
    assert "\n" not in last.get("detail", "")
    return answer.status_code, last.get("error", "")


def test_what_a_decoder_says_of_views(service: Running) -> None:
    good = {"seen": SEEN, "shapes": [VIEWS]}
    assert said(service, "predict", good) == (200, "")
    wrong: list[Any] = [
        {"seen": SEEN, "shapes": []},
        {"seen": SEEN, "shapes": [VIEWS] * 2},
        {"seen": SEEN, "shapes": [[3_000_000, 3, 4, 16, 16]]},  # 9 GB
        {"seen": SEEN, "shapes": [[6, 3, 4, 16, 16]]},
        {"seen": SEEN, "shapes": [[3, 3, 4, 16, 1 << 70]]},
        {"seen": SEEN, "shapes": [[-3, -3, 4, 16, 16]]},
        {"seen": SEEN},
        {"shapes": [VIEWS]},
        {"seen": SEEN | {"frames": "many"}, "shapes": [VIEWS]},
        {"seen": SEEN | {"seconds": float("nan")}, "shapes": [VIEWS]},
        {"seen": [1], "shapes": [VIEWS]},
        {"problem": ["internal", "x"]},
        {"problem": ["too_long"]},
        {"problem": ["too_long", "two\nlines"]},
    ]
    for header in wrong:
        assert said(service, "predict", header) == CRASHED, header
    assert said(service, "predict", good, good) == CRASHED
    assert said(service, "predict") == CRASHED  # an end, and nothing before
    assert said(service, "predict", {"problem": ["too_long", "9 seconds"]}) == (413, "too_long")


def test_what_a_decoder_says_of_an_explanation(service: Running) -> None:
    assert said(service, "explain", EXPLAINED) == (200, "")
    for wrong in (
        {"places": PLACES[:2]},
        {"places": [*PLACES[:2], PLACES[2] | {"numbers": [0, 1, 2, 9]}]},
        {"places": [*PLACES[:2], PLACES[2] | {"left": 6}]},
        {"places": [*PLACES[:2], PLACES[2] | {"top": -1}]},
        {"size": [100_000, 100_000]},  # a map of 160 GB
        {"scaled": [16, 10**9]},
        {"frames": [0, 1, 2]},
        {"frames": [3, 2, 1, 0]},
        {"frames": [0, 1, 2, 10**9]},
        {"seconds": [0.0, 0.1, 0.2, float("inf")]},
        {"seconds": [0.0, 0.1, None, 0.3]},
        {"seconds": [0.3, 0.2, 0.1, 0.0]},
        {"shapes": [VIEWS, [3, 4, 2**13, 2**13]]},
        {"shapes": [VIEWS, [3, 4, 24]]},
        {"more": 1},
    ):
        assert said(service, "explain", {**EXPLAINED, **wrong}) == CRASHED, wrong


def test_what_a_decoder_says_of_windows(service: Running) -> None:
    first, window = {"stride": 0.2, "shapes": []}, {"window": WINDOW, "shapes": [VIEWS]}
    assert said(service, "timeline", first, window) == (200, "")
    for wrong in (
        [{"stride": 0, "shapes": []}, window],
        [{"stride": 1e-300, "shapes": []}, window],
        [{"stride": 0.2, "shapes": [VIEWS]}, window],
        [window],
        [first, {"window": WINDOW | {"start": None}, "shapes": [VIEWS]}],
        [first, {"window": WINDOW | {"end": 1e300}, "shapes": [VIEWS]}],
        [first, {"window": WINDOW, "shapes": []}],
        [],
    ):
        assert said(service, "timeline", *wrong) == CRASHED, wrong
    back = {"window": WINDOW | {"start": 0.5, "end": 0.6}, "shapes": [VIEWS]}
    assert said(service, "timeline", first, back, window)[1] == "decoder_crashed"


def test_no_process_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(process: ForkServerProcess) -> None:
        raise BlockingIOError

    monkeypatch.setattr(ForkServerProcess, "start", start)
    decoder = with_decode(decode_upload, ServiceSettings())
    with pytest.raises(Problem, match="unavailable: no process to decode with"):
        next(decoder.read(Job(), tmp_path / "x", Task("views", ClipShape(4, 16), Preprocessing())))
