"""What the page of the service is given, and how: the camera, files that are dropped, the keyboard, a phone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import browser
from service_page import classify, expect, seconds_of


def test_a_clip_of_the_camera_and_live(opened: Any) -> None:
    opened.get_by_role("button", name="Use the camera").click()
    expect(opened.locator("#camera-stage")).to_be_visible()
    opened.locator("#seconds").select_option("10")
    opened.locator("#record").click()
    expect(opened.locator("#record")).to_have_text("Stop")
    expect(opened.locator("#camera-progress")).to_be_visible()
    opened.wait_for_timeout(1200)
    opened.locator("#record").click()  # sooner than the seconds that were asked for
    expect(opened.locator("#said")).to_have_text(re.compile("Timeline: "))
    assert re.fullmatch(r"camera \d\d\.\d\d\.\d\d\.webm", opened.locator("#name").inner_text())
    assert 0.3 < opened.locator("#video").evaluate("(video) => video.duration") < 10
    assert seconds_of(opened) == 0
    opened.locator("#seconds").select_option("2")
    opened.locator("#live").click()
    expect(opened.locator("#live-bars li")).to_have_count(5)
    opened.locator("#live").click()
    assert opened.locator("#live").get_attribute("aria-pressed") == "false"
    opened.get_by_role("button", name="Close the camera").click()
    assert not opened.locator("#camera").is_visible()
    assert opened.locator("#preview").evaluate("(video) => video.srcObject") is None
    assert opened.locator("#entries li").count() == 1  # live clips are not kept


COUNTED = """() => {
  const { mediaDevices } = navigator, given = mediaDevices.getUserMedia.bind(mediaDevices);
  window.streams = [];
  mediaDevices.getUserMedia = async (wanted) => {
    await new Promise((resolve) => setTimeout(resolve, 200)); // as somebody takes to allow it
    const stream = await given(wanted);
    window.streams.push(stream);
    return stream;
  };
}"""


def test_two_clicks_on_the_camera_are_one_camera(opened: Any) -> None:
    opened.evaluate(COUNTED)
    opened.locator("#use-camera").evaluate("(button) => { button.click(); button.click(); }")
    expect(opened.locator("#camera-stage")).to_be_visible()
    opened.wait_for_timeout(400)  # a second one would be there by now
    opened.get_by_role("button", name="Close the camera").click()
    tracks = opened.evaluate("() => streams.map((stream) => stream.getTracks().map((track) => track.readyState))")
    assert tracks == [["ended"]]


def test_live_off_and_on_keeps_the_new_clip(opened: Any) -> None:
    """The clip before ends when the new one has begun, which `off` then still ends at once."""
    opened.evaluate(
        "() => { const given = MediaRecorder.prototype.start; window.recorders = [];"
        " MediaRecorder.prototype.start = function () { recorders.push(this); given.call(this); }; }"
    )
    opened.locator("#use-camera").click()
    opened.locator("#seconds").select_option("10")
    live, progress = opened.locator("#live"), opened.locator("#camera-progress")
    expect(live).to_be_enabled()
    live.click()
    expect(progress).to_be_visible()
    live.evaluate("(live) => { live.click(); live.click(); }")
    opened.wait_for_function("() => recorders.length === 2 && recorders[0].state === 'inactive'")
    expect(progress).to_be_visible()
    live.click()
    assert opened.evaluate("() => recorders.map((recorder) => recorder.state)") == ["inactive", "inactive"]
    expect(progress).not_to_be_visible()
    opened.get_by_role("button", name="Close the camera").click()


def test_a_camera_that_cannot_be_recorded(opened: Any) -> None:
    opened.evaluate("() => { MediaRecorder.prototype.start = () => { throw new Error('no encoder'); }; }")
    opened.locator("#use-camera").click()
    expect(opened.locator("#record")).to_be_enabled()
    opened.locator("#record").click()
    expect(opened.locator("#camera-problem")).to_have_text("The camera cannot be recorded: no encoder")
    assert opened.locator("#record").inner_text() == "Record"
    assert opened.locator("#live").is_enabled()
    opened.get_by_role("button", name="Close the camera").click()


def test_a_camera_that_is_not_allowed(opened: Any) -> None:
    refused = "Promise.reject(new DOMException('', 'NotAllowedError'))"
    opened.evaluate(f"() => {{ navigator.mediaDevices.getUserMedia = () => {refused}; }}")
    opened.get_by_role("button", name="Use the camera").click()
    expect(opened.locator("#camera-problem")).to_contain_text("The browser was not allowed to use the camera.")
    assert not opened.locator("#camera-stage").is_visible()
    opened.get_by_role("button", name="Close the camera").click()
    assert not opened.locator("#camera").is_visible()
    assert opened.locator("#source-title").inner_text() == "Drop a video"


DROP = """(names) => {
  const dropped = new DataTransfer();
  for (const name of names) dropped.items.add(new File(["no video"], name, { type: "video/mp4" }));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: dropped, bubbles: true, cancelable: true }));
    if (kind === "dragover" && document.getElementById("drop-here").hidden) throw new Error("not seen");
  }
}"""


def test_files_are_dropped_anywhere_one_at_a_time(opened: Any, any_chromium: browser.Chromium) -> None:
    opened.evaluate(DROP, ["a.mp4", "b.mp4"])
    assert opened.locator("#notice").inner_text() == "2 files were dropped; drop one video at a time."
    opened.evaluate(DROP, ["a.mp4"])
    expect(opened.locator("#name")).to_have_text("a.mp4")
    assert not opened.locator("#drop-here").is_visible()
    expect(opened.locator("#prediction-task .problem")).to_be_visible()
    opened.evaluate(
        """() => {
      const dropped = new DragEvent("drop", { bubbles: true, cancelable: true });
      Object.defineProperty(dropped, "dataTransfer", { value: { types: ["Files"], files: [], items: [] } });
      document.body.dispatchEvent(dropped);
    }"""
    )
    assert opened.locator("#notice").inner_text() == "What was dropped is not a file; drop a video."
    any_chromium.expect_problem("status of 4")


def test_everything_is_reached_by_keyboard(opened: Any, motions: Path) -> None:
    def focused() -> str:
        return opened.evaluate("() => document.activeElement.id || document.activeElement.className")

    def tabs(count: int) -> list[str]:
        found = []
        for _ in range(count):
            opened.keyboard.press("Tab")
            found.append(focused())
        return found

    assert [one for one in tabs(4) if one != "model"][:3] == ["skip", "choose", "use-camera"]
    opened.locator("#use-camera").focus()
    outline = opened.locator("#use-camera").evaluate("(one) => getComputedStyle(one).outlineStyle")
    assert outline == "solid"
    classify(opened, motions)
    order = list(dict.fromkeys(tabs(40)))  # a video's own controls are several stops
    wanted = ["video", "attention", "explained", "method", "button quiet", "window", "track", "clear"]
    assert [one for one in order if one in wanted] == wanted


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_and_room_on_a_phone(opened: Any, motions: Path, scheme: Any) -> None:
    page = opened
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 390, "height": 844})
    assert browser.faults(page) == []
    classify(page, motions)
    page.get_by_role("button", name="Copy as Python").click()
    page.get_by_role("button", name="Use the camera").click()
    expect(page.locator("#camera-stage")).to_be_visible()
    assert browser.faults(page) == []
    assert not browser.is_wider_than_window(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    assert not browser.is_wider_than_window(page)
