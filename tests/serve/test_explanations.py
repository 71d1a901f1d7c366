"""What an explanation costs the service: bounded memory, room in the queue, a time."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from conftest import moving_bar
from misbehaving import slow
from serving import Running, running, save_small, until
from timesformer.config.explain import Explain
from timesformer.explain.explainer import Explanation, load_explainer
from timesformer.explain.save import save_overlay
from timesformer.serve import service as services
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
def service(weights: dict[str, Path]) -> Iterator[Running]:
    with running(weights) as found:
        yield found
        until(lambda: not found.left)


def explain(service: Running, content: bytes, **params: Any) -> tuple[int, str]:
    answer = service.client.post("/v1/explain", content=content, headers=VIDEO, params=params)
    return answer.status_code, "" if answer.status_code == 200 else answer.json()["error"]


def peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024


def test_memory_of_drawing_does_not_grow_with_the_frames(weights: dict[str, Path], tmp_path: Path) -> None:
    """96 frames take no more than 20 bytes a pixel to draw; as one array it was 88."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of memory can be reset on Linux alone")
    small = load_explainer(weights["small"], "cpu").explain(moving_bar(1, 0), fps=10)
    shape = (96, 192, 192)
    map_NHW = torch.full(shape, 1 / 96 / 192**2)
    found: Explanation = small._replace(
        map_NHW=map_NHW,
        covered_HW=torch.ones(shape[1:], dtype=torch.bool),
        frames=list(range(96)),
        seconds=[number / 10 for number in range(96)],
    )
    frames_NHW3 = np.full((*shape, 3), 90, dtype=np.uint8)
    save_overlay(found, frames_NHW3, tmp_path / "first.mp4", plain=True)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_bytes()
    save_overlay(found, frames_NHW3, tmp_path / "overlay.mp4", plain=True)
    assert (peak_bytes() - before) / map_NHW.numel() < 20
    assert (tmp_path / "overlay.mp4").stat().st_size > 0


def test_one_explanation_is_decoded_and_drawn_at_a_time(weights: dict[str, Path], good: bytes, tmp_path: Path) -> None:
    """The second one is not decoded before the first one is drawn."""
    answers: list[httpx.Response] = []
    contents = [good + b"|" + str(tmp_path / name).encode() for name in ("a", "b")]
    with running(weights, decode=slow, workers=2) as service:

        def ask(content: bytes) -> None:
            answers.append(httpx.post(f"{service.address}/v1/explain", content=content, headers=VIDEO, timeout=240))

        threads = [threading.Thread(target=ask, args=(content,)) for content in contents]
        threads[0].start()
        until((tmp_path / "a.begun").exists)
        threads[1].start()
        until(lambda: service.service.explaining.statistics().tasks_waiting == 1)
        assert not (tmp_path / "b.begun").exists()
        (tmp_path / "a").touch()
        (tmp_path / "b").touch()
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200, 200]


def test_a_full_disk(service: Running, good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(services, "save_overlay", full)
    assert explain(service, good) == (503, "storage_full")


def test_an_explanation_has_a_time_limit(service: Running, good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "EXPLAIN_SECONDS", 0.0)
    monkeypatch.setattr(service.service.find(None).batcher.engine, "views", 1)
    assert explain(service, good, method="occlusion") == (422, "explain_timeout")


def test_occlusion_reserves_what_it_runs(service: Running, good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three views, each whole and with 4 x 2 x 2 parts hidden, but no more than half of the queue."""
    model = service.service.find(None)
    assert model.runs(Explain(method="occlusion"), 3) == 3 * (1 + 16)
    reserved: list[int] = []
    compute = model.batcher._run

    def run(batch: Any) -> None:
        reserved.append(model.batcher.reserved)
        compute(batch)

    monkeypatch.setattr(model.batcher, "_run", run)
    assert explain(service, good, method="occlusion") == (200, "")
    assert set(reserved) == {51}
    reserved.clear()
    monkeypatch.setattr(model.batcher, "limit", 60)
    assert explain(service, good, method="occlusion") == (200, "")
    assert set(reserved) == {30}
    until(lambda: model.batcher.reserved == 0)
