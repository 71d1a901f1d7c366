"""The page of the service in a browser, with a service of a tiny model behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import browser
import timesformer
from serving import running
from timesformer.config import Preprocessing, Sampling, TimeSformerSettings
from timesformer.data.motion import CLASSES, FPS, FRAMES, motion_clip
from timesformer.inference.predictor import Predictor
from timesformer.video.encode import write_video
from timesformer.weights.classifier import Classifier

expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=120_000)

SHOWN = ("right", "up", "growing")  # one after the other, in the video
SECONDS = len(SHOWN) * FRAMES / FPS


def save_motion_weights(folder: Path) -> Path:
    """A tiny model, whose answers differ from moment to moment."""
    torch.manual_seed(4)
    shape = TimeSformerSettings(
        width=16, depth=1, heads=2, num_frames=4, image_size=32, patch_size=8, num_classes=len(CLASSES)
    )
    model = timesformer.build_model(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    preprocessing = Preprocessing(short_side=32, sampling=Sampling(rate=2))
    Classifier(model, preprocessing=preprocessing, labels=CLASSES).save_pretrained(folder)
    return folder


def write_motions(file: Path) -> Path:
    clips = [motion_clip(label, number) for number, label in enumerate(SHOWN)]
    write_video(file, torch.cat(clips, 1), FPS)
    return file


@contextmanager
def tab_of(chromium: browser.Chromium, weights: Path) -> Iterator[tuple[Any, str]]:
    """A tab with the page of a service that has these weights twice, and the service's address."""
    with running({"motion": weights, "again": weights}) as found:
        address = f"{found.address}/"
        yield chromium.open(address, permissions=("camera", "clipboard-read", "clipboard-write")), address


@contextmanager
def as_at_first(tab: Any, chromium: browser.Chromium) -> Iterator[Any]:
    """The page as it is at first. Nothing may go wrong in it, and nothing may be asked of anybody but the service."""
    chromium.problems.clear()
    tab.set_viewport_size({"width": 1280, "height": 900})
    tab.evaluate("() => sessionStorage.clear()")
    tab.reload()
    expect(tab.locator("#facts")).to_contain_text("8 classes")
    yield tab
    tab.unroute_all()
    assert chromium.problems == []


def classify(page: Any, video: Path | dict[str, Any]) -> None:
    """Until its timeline is there."""
    page.set_input_files("#file", video)
    expect(page.locator("#said")).to_have_text(re.compile("Timeline: "))


def requests_of(page: Any) -> list[str]:
    """A list that grows with what the page asks of the API."""
    asked: list[str] = []
    page.on(
        "request", lambda request: asked.append(request.url.partition("/v1/")[2]) if "/v1/" in request.url else None
    )
    return asked


def seconds_of(page: Any, which: str = "#video") -> float:
    return page.locator(which).evaluate("(video) => video.currentTime")


def bars_of(page: Any) -> list[tuple[str, str]]:
    items = page.locator("#bars li")
    return [tuple(item.locator(part).inner_text() for part in (".label", ".score")) for item in items.all()]


def segments_of(page: Any) -> list[tuple[str, str, str]]:
    items = page.locator("#segments li")
    return [tuple(item.locator(f".{part}").inner_text() for part in ("time", "label", "score")) for item in items.all()]


def expected_segments(predictor: Predictor, video: Path) -> list[tuple[str, str, str]]:
    """Each moment has the class of the window whose centre is nearest; a score is the mean of its windows."""
    found: list[tuple[float, str, list[float]]] = []
    before = None
    for row in predictor.timeline(video):
        centre = (row.start + row.end) / 2
        if not found or found[-1][1] != row.label:
            found.append((row.start if before is None else (before + centre) / 2, row.label, []))
        found[-1][2].append(row.score)
        before = centre
    return [(f"0:{start:04.1f}", label, f"{100 * sum(all_) / len(all_):.1f}%") for start, label, all_ in found]
