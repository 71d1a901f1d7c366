"""What the page of the service shows, in a browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

import timesformer
from service_page import (
    SECONDS,
    bars_of,
    classify,
    expect,
    expected_segments,
    requests_of,
    seconds_of,
    segments_of,
)
from timesformer.data.motion import FPS, motion_clip
from timesformer.explain.explainer import Explainer
from timesformer.explain.save import draw_overlays
from timesformer.video.encode import write_video
from timesformer.video.source import open_video


@pytest.fixture
def service(tab_and_address: tuple[Any, str]) -> str:
    return tab_and_address[1]


def test_a_video_is_classified_and_followed(opened: Any, motion_weights: Path, motions: Path) -> None:
    predictor = timesformer.load(motion_weights, "cpu", precision="fp32")
    assert opened.locator("#source-title").inner_text() == "Drop a video"
    classify(opened, motions)
    expected = [(one.label, f"{100 * one.score:.1f}%") for one in predictor.predict(motions, top=5)]
    assert bars_of(opened) == expected
    segments = expected_segments(predictor, motions)
    assert len(segments) > 1
    assert segments_of(opened) == segments
    assert opened.locator("#name").inner_text() == "three motions.mp4"
    assert opened.locator("#name").evaluate("(name) => name === document.activeElement")
    assert opened.locator("#ticks span").last.inner_text() == "0:06"
    assert opened.locator("#seen").inner_text().endswith(f"of {SECONDS:.1f} s of the video.")
    widths = opened.locator("#bars .bar span").evaluate_all("(bars) => bars.map((bar) => bar.style.width)")
    assert widths == [score.replace(".0%", "%") for _, score in expected]


def test_seeking_by_mouse_and_by_keyboard(opened: Any, motions: Path) -> None:
    classify(opened, motions)
    track, segments = opened.locator("#track"), segments_of(opened)
    starts = [float(start.removeprefix("0:")) for start, _, _ in segments]
    box = track.bounding_box()
    track.click(position={"x": box["width"] * 0.75, "y": 40})
    assert seconds_of(opened) == pytest.approx(0.75 * SECONDS, abs=0.03)
    current = max(number for number, start in enumerate(starts) if start <= 0.75 * SECONDS)
    marked = opened.locator("#segments [aria-current=true]")
    assert marked.count() == 1
    assert marked.locator(".time").inner_text() == segments[current][0]
    assert opened.locator("#now strong").inner_text() == segments[current][1]
    label, score = segments[current][1:]
    assert track.get_attribute("aria-valuetext") == f"0:{0.75 * SECONDS:04.1f} of 0:{SECONDS:04.1f}, {label} {score}"

    track.press("Home")
    assert seconds_of(opened) == 0
    track.press("ArrowRight")  # from one window to the next
    assert 0 < seconds_of(opened) < 1
    track.press("ArrowLeft")
    assert seconds_of(opened) == 0
    track.press("PageUp")  # the next segment
    assert seconds_of(opened) == pytest.approx(starts[1], abs=0.06)
    track.press("PageDown")
    assert seconds_of(opened) == 0
    track.press("End")
    assert seconds_of(opened) == pytest.approx(SECONDS, abs=0.05)
    assert marked.locator(".label").inner_text() == segments[-1][1]
    opened.locator("#segments button").nth(1).press("Enter")
    assert seconds_of(opened) == pytest.approx(starts[1], abs=0.06)


def colours_of(page: Any) -> dict[str, str]:
    """The look of each class in the timeline."""
    items = page.locator("#segments li").all()
    return {item.locator(".label").inner_text(): item.locator(".swatch").get_attribute("class") for item in items}


def test_a_class_keeps_its_colour(opened: Any, motions: Path) -> None:
    """Of eight classes, in another window of a video, and when the video is chosen again."""
    classify(opened, motions)
    first = colours_of(opened)
    opened.locator("#window").fill("0.3")
    opened.locator("#window").press("Enter")
    expect(opened.locator("#segments li").nth(len(segments_of(opened)))).to_be_visible()
    expect(opened.locator("#timeline-task .task")).not_to_be_visible()
    second = colours_of(opened)
    assert {label: second.get(label, colour) for label, colour in first.items()} == first
    classify(opened, {"name": "again.mp4", "mimeType": "video/mp4", "buffer": motions.read_bytes()})
    opened.locator("#entries button").nth(1).click()
    expect(opened.locator("#name")).to_have_text(motions.name)
    assert colours_of(opened) == second


def test_the_class_of_the_moment_while_it_plays(opened: Any, motions: Path) -> None:
    classify(opened, motions)
    first, second = segments_of(opened)[:2]
    marked = opened.locator("#segments [aria-current=true] .time")
    opened.locator("#video").evaluate(f"(video) => {{ video.currentTime = {float(second[0][2:])} - 0.2; }}")
    expect(marked).to_have_text(first[0])
    opened.locator("#track").press("Enter")
    expect(marked).to_have_text(second[0])
    expect(opened.locator("#now strong")).to_have_text(second[1])
    opened.locator("#track").press("Enter")
    assert opened.locator("#video").evaluate("(video) => video.paused")


def overlay_of(service: str, motions: Path) -> tuple[bytes, tuple[float, ...]]:
    """The frames alone under the map of the best class, and which seconds of the video they are of."""
    sent = {"video": (motions.name, motions.read_bytes())}
    answer = httpx.post(f"{service}v1/explain?plain=true", files=sent, timeout=240, trust_env=False).raise_for_status()
    return answer.content, tuple(float(answer.headers[f"Overlay-{end}"]) for end in ("Start", "End"))


def test_a_plain_overlay_is_the_frames_under_the_map(service: str, motion_weights: Path, motions: Path) -> None:
    content, (start, end) = overlay_of(service, motions)
    classifier = timesformer.load_model(motion_weights)
    explained = Explainer(classifier, timesformer.load_engine(classifier, device="cpu", precision="fp32")).explain(
        motions
    )
    overlays_NHW3 = draw_overlays(explained, motions, 360)[1]
    with open_video(content) as opened:
        shown_NHW3 = opened.read(range(opened.num_frames)).permute(1, 2, 3, 0).numpy()
    assert shown_NHW3.shape == overlays_NHW3.shape
    assert abs(shown_NHW3.astype(int) - overlays_NHW3).mean() < 4
    assert start == pytest.approx(explained.seconds[0])
    rate = (len(explained.frames) - 1) / (explained.seconds[-1] - explained.seconds[0])
    assert end == pytest.approx(explained.seconds[-1] + 1 / rate)


def test_attention_takes_the_place_of_the_video_and_keeps_its_time(opened: Any, motions: Path, service: str) -> None:
    classify(opened, motions)
    asked, toggle = requests_of(opened), opened.locator("#attention")
    opened.locator("#track").click(position={"x": opened.locator("#track").bounding_box()["width"] / 2, "y": 40})
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "true")
    expect(opened.locator("#overlay")).to_be_visible()
    assert not opened.locator("#video").is_visible()
    size = "(video) => [video.videoWidth, video.videoHeight]"
    assert opened.locator("#overlay").evaluate(size) == opened.locator("#video").evaluate(size)
    assert opened.locator("#overlay").bounding_box() == opened.locator(".screen:visible").bounding_box()  # all of it
    start, end = overlay_of(service, motions)[1]
    assert 1 < start < SECONDS / 2 < end < SECONDS - 1
    assert opened.locator("#looked").inner_text() == f"The model saw 0:{start:04.1f} to 0:{end:04.1f}."
    assert f"label={bars_of(opened)[0][0]}" in asked[0]
    shown = float(opened.locator("#track").get_attribute("aria-valuenow"))
    assert shown == pytest.approx(SECONDS / 2, abs=0.1)
    assert seconds_of(opened, "#overlay") == pytest.approx(SECONDS / 2 - start, abs=0.1)
    toggle.click()
    expect(opened.locator("#video")).to_be_visible()
    assert seconds_of(opened) == pytest.approx(SECONDS / 2, abs=0.1)
    opened.locator("#track").press("Home")
    toggle.click()  # it has nothing of this moment
    assert seconds_of(opened, "#overlay") == 0
    toggle.click()
    assert seconds_of(opened) == 0
    toggle.click()
    expect(toggle).to_have_attribute("aria-pressed", "true")
    assert len(asked) == 1  # it is there already
    opened.locator("#method").select_option("occlusion")
    opened.locator("#explained").select_option(bars_of(opened)[1][0])
    expect(opened.locator("#said")).to_have_text(f"Attention for {bars_of(opened)[1][0]}, by occlusion")


def test_history_shows_again_without_asking(opened: Any, motions: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "short.mp4", motion_clip("down", 5), FPS)
    classify(opened, motions)
    first = bars_of(opened), segments_of(opened)
    classify(opened, tmp_path / "short.mp4")
    assert (bars_of(opened), segments_of(opened)) != first
    asked, entries = requests_of(opened), opened.locator("#entries button")
    assert entries.locator(".name").all_inner_texts() == ["short.mp4, motion", "three motions.mp4, motion"]
    entries.nth(1).press("Enter")
    assert (bars_of(opened), segments_of(opened)) == first
    assert entries.nth(1).get_attribute("aria-current") == "true"
    assert opened.locator("#entries canvas").count() == 2
    assert asked == []
    opened.get_by_role("button", name="Clear").click()
    assert not opened.locator("#opened").is_visible()
    assert not opened.locator("#history").is_visible()


def test_another_model_for_the_same_video(opened: Any, motions: Path) -> None:
    classify(opened, motions)
    first, asked, select = bars_of(opened), requests_of(opened), opened.get_by_role("combobox", name="Model")
    assert select.locator("option").all_inner_texts() == ["motion", "again"]
    select.focus()
    select.select_option("again")
    expect(opened.locator("#entries .name")).to_have_text(["three motions.mp4, again", "three motions.mp4, motion"])
    expect(opened.locator("#said")).to_have_text(re.compile("Timeline: "))
    assert [address.partition("&")[0] for address in asked] == ["predict?model=again", "timeline?model=again"]
    assert bars_of(opened) == first  # it has the same weights
    assert select.evaluate("(select) => select === document.activeElement")


def test_what_is_copied_runs(opened: Any, motions: Path, tmp_path: Path) -> None:
    file = tmp_path / 'it\'s "a" $(touch hacked); \\ é.mp4'
    file.write_bytes(motions.read_bytes())
    classify(opened, file)
    expected = bars_of(opened)
    opened.get_by_role("button", name="Copy as curl").click()
    expect(opened.locator("#copied")).to_have_text("Copied.")
    copied = opened.evaluate("() => navigator.clipboard.readText()")
    said = subprocess.run(["sh", "-c", copied], cwd=tmp_path, capture_output=True, check=True).stdout
    assert [(one["label"], f"{100 * one['score']:.1f}%") for one in json.loads(said)["predictions"]] == expected
    opened.get_by_role("button", name="Copy as Python").click()
    expect(opened.locator("#snippet")).to_contain_text("import json")
    copied = opened.evaluate("() => navigator.clipboard.readText()")
    said = subprocess.run(
        [sys.executable, "-c", copied], cwd=tmp_path, capture_output=True, check=True, text=True
    ).stdout
    lines = [line.rpartition(" ") for line in said.splitlines()]
    assert [(label, f"{100 * float(score):.1f}%") for label, _, score in lines] == expected
    assert not (tmp_path / "hacked").exists()
    opened.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('not over HTTP')); }")
    opened.get_by_role("button", name="Copy as curl").click()
    expect(opened.locator("#copied")).to_have_text("Selected: copy it.")
    assert opened.evaluate("() => String(getSelection())").startswith("curl -F ")
