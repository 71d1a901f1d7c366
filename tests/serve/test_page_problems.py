"""The page of the service in a browser, when something goes wrong or somebody says stop."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import browser
import videos
from service_page import (
    bars_of,
    classify,
    expect,
    requests_of,
    segments_of,
)

TOKEN = "a-secret-of-the-tests"


def test_a_broken_file_then_a_second_one(
    opened: Any, motions: Path, tmp_path: Path, any_chromium: browser.Chromium
) -> None:
    name = "<img src=x onerror=document.title='run'> .mp4"
    opened.set_input_files("#file", {"name": name, "mimeType": "video/mp4", "buffer": b"no video" * 1000})
    problem = opened.locator("#prediction-task .problem")
    expect(problem).to_be_visible()
    expect(problem.locator("p")).to_have_text(
        "This file cannot be classified. The file is not a video of a kind that this service reads."
    )
    assert "/" not in problem.inner_text()
    assert opened.locator("#name").inner_text() == name
    assert opened.locator("#opened img, #history img").count() == 0
    expect(opened.locator("#unplayable")).to_be_visible()
    assert not opened.locator("#timeline").is_visible()
    any_chromium.expect_problem("status of 4")
    problem.get_by_role("button", name="Try again").click()
    expect(opened.locator("#prediction-task .task")).not_to_be_visible()
    expect(problem).to_be_visible()
    any_chromium.expect_problem("status of 4")
    opened.set_input_files("#file", {"name": "empty.mp4", "mimeType": "video/mp4", "buffer": b""})
    assert opened.locator("#notice").inner_text() == "empty.mp4 is empty."
    classify(opened, motions)
    assert not problem.is_visible()
    assert not opened.locator("#notice").is_visible()
    assert opened.locator("#entries .label").all_inner_texts()[1] == "no prediction"
    assert opened.title() == "timesformer"


def test_a_file_that_the_browser_cannot_play(opened: Any, tmp_path: Path) -> None:
    videos.write(tmp_path / "old.avi", 50, "mpeg4")
    classify(opened, tmp_path / "old.avi")
    expect(opened.locator("#unplayable")).to_be_visible()
    opened.locator("#track").press("End")
    assert opened.locator("#track").get_attribute("aria-valuenow") == "2.00"
    opened.locator("#attention").click()
    expect(opened.locator("#overlay")).to_be_visible()  # which it can play
    opened.locator("#attention").click()
    expect(opened.locator("#unplayable")).to_be_visible()
    assert not opened.locator("#video").is_visible()


def test_cancel_while_a_video_is_sent(opened: Any, tmp_path: Path) -> None:
    slow = opened.context.new_cdp_session(opened)
    slow.send("Network.enable")
    slow.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 200_000},
    )
    ended: list[str] = []
    opened.on("requestfailed", lambda request: ended.append(request.failure) if "/v1/" in request.url else None)
    (tmp_path / "large.mp4").write_bytes(bytes(8_000_000))
    opened.set_input_files("#file", tmp_path / "large.mp4")
    busy = opened.locator("#prediction-task .task")
    expect(busy.locator("p")).to_have_text(re.compile(r"Uploading, .* of 8\.0 MB"))
    assert 0 < busy.locator("progress").evaluate("(bar) => bar.value") < 1
    busy.get_by_role("button", name="Cancel").press("Enter")
    slow.detach()
    expect(opened.locator("#prediction-task .problem")).to_contain_text("Cancelled.")
    assert ended == ["net::ERR_ABORTED"]
    assert opened.get_by_role("button", name="Start again: prediction").evaluate(
        "(one) => one === document.activeElement"
    )


def test_cancel_while_it_computes_and_start_again(opened: Any, motions: Path) -> None:
    waiting: list[Any] = []
    opened.route("**/v1/predict*", lambda route: waiting.append(route))
    opened.set_input_files("#file", motions)
    opened.locator("#prediction-task").get_by_role("button", name="Cancel").click()
    again = opened.get_by_role("button", name="Start again: prediction")
    expect(again).to_be_visible()
    assert bars_of(opened) == []
    opened.unroute("**/v1/predict*")
    opened.route("**/v1/timeline*", lambda route: waiting.append(route))
    again.click()
    expect(opened.locator("#bars li")).to_have_count(5)
    opened.locator("#timeline-task").get_by_role("button", name="Cancel").click()
    opened.unroute("**/v1/timeline*")
    opened.get_by_role("button", name="Start again: timeline").click()
    expect(opened.locator("#said")).to_have_text(re.compile("Timeline: "))
    assert len(waiting) == 2


def test_the_entry_that_is_computed_goes_on_when_it_is_chosen(opened: Any, motions: Path) -> None:
    held: list[Any] = []
    opened.route("**/v1/predict*", lambda route: held.append(route))
    opened.set_input_files("#file", motions)
    expect(opened.locator("#prediction-task .task")).to_be_visible()
    opened.locator("#entries button").click()
    assert opened.locator("#prediction-task .task").is_visible()
    opened.wait_for_timeout(100)
    held[0].continue_()
    expect(opened.locator("#bars li")).to_have_count(5)
    assert len(held) == 1


def test_an_overlay_that_the_browser_cannot_play(opened: Any, motions: Path) -> None:
    classify(opened, motions)
    opened.route("**/v1/explain*", lambda route: route.fulfill(body="no video", content_type="video/mp4"))
    opened.locator("#attention").click()
    problem = opened.locator("#overlay-task .problem")
    expect(problem).to_contain_text("This browser cannot play the overlay.")
    assert opened.locator("#video").is_visible()
    assert not opened.locator("#overlay").is_visible()
    assert opened.locator("#attention").get_attribute("aria-pressed") == "false"
    opened.unroute("**/v1/explain*")
    problem.get_by_role("button", name="Try again").click()
    expect(opened.locator("#overlay")).to_be_visible()
    assert not problem.is_visible()


def with_token(route: Any) -> None:
    if route.request.headers.get("authorization") == f"Bearer {TOKEN}":
        route.continue_()
    else:
        route.fulfill(status=401, json={"error": "unauthorized", "detail": "a token is needed"})


def test_a_token_is_asked_for_and_stays_in_the_tab(opened: Any, motions: Path, any_chromium: browser.Chromium) -> None:
    page = opened
    page.route("**/v1/**", with_token)
    page.reload()
    dialog, field = page.get_by_role("dialog"), page.get_by_label("Token", exact=True)
    expect(dialog).to_be_visible()
    assert field.evaluate("(field) => field === document.activeElement")
    for odd in ("two words", "s\u0113cret"):  # which no header carries
        field.fill(odd)
        field.press("Enter")
        expect(dialog).to_contain_text("A token has printable ASCII characters only, without spaces.")
    field.fill("wrong")
    field.press("Enter")
    expect(dialog).to_contain_text("does not accept this token")
    assert browser.faults(page) == []
    field.fill(TOKEN)
    field.press("Enter")
    expect(page.locator("#facts")).to_contain_text("8 classes")
    classify(page, motions)
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.locator("#snippet")).to_contain_text('"Authorization: Bearer $TIMESFORMER_TOKEN"')
    assert TOKEN not in page.content()
    assert page.evaluate("() => [localStorage.length, document.cookie]") == [0, ""]
    page.reload()  # the tab has it still
    expect(page.locator("#facts")).to_contain_text("8 classes")
    for _ in range(2):
        any_chromium.expect_problem("status of 401")


def test_a_busy_service_is_asked_again(opened: Any, motions: Path, any_chromium: browser.Chromium) -> None:
    tried: list[str] = []

    def busy_once(route: Any) -> None:
        tried.append(route.request.url)
        if len(tried) > 1:
            route.continue_()
        else:
            route.fulfill(
                status=429, headers={"Retry-After": "1"}, json={"error": "busy", "detail": "the queue is full"}
            )

    opened.route("**/v1/predict*", busy_once)
    opened.set_input_files("#file", motions)
    expect(opened.locator("#prediction-task .task p")).to_have_text("The service is busy; retrying in 1 s")
    expect(opened.locator("#bars li")).to_have_count(5)
    assert len(tried) == 2
    any_chromium.expect_problem("status of 429")


def test_a_timeline_that_breaks_off_says_so_and_keeps_its_rows(opened: Any, motions: Path) -> None:
    row = {"video": "a", "start_s": 0.0, "end_s": 2.0, "padded": False, "last": False, "label": "up", "score": 0.75}
    lines = [row, {"error": "decoder_crashed", "detail": "the decoder ended"}]
    body = "".join(json.dumps(line) + "\n" for line in lines)
    opened.route("**/v1/timeline*", lambda route: route.fulfill(body=body, content_type="application/x-ndjson"))
    opened.set_input_files("#file", motions)
    problem = opened.locator("#timeline-task .problem")
    expect(problem).to_contain_text("The timeline ends here. The decoder ended.")
    assert segments_of(opened) == [("0:00.0", "up", "75.0%")]
    opened.unroute("**/v1/timeline*")
    opened.locator("#window").fill("1.5")
    asked = requests_of(opened)
    opened.locator("#window").press("Enter")
    expect(opened.locator("#said")).to_have_text(re.compile("Timeline: "))
    assert "window=1.5" in asked[0]
    assert not problem.is_visible()


def test_a_service_that_is_gone(opened: Any, motions: Path, any_chromium: browser.Chromium) -> None:
    opened.route("**/v1/**", lambda route: route.abort("connectionrefused"))
    opened.set_input_files("#file", motions)
    expect(opened.locator("#prediction-task .problem")).to_contain_text(
        re.compile("cannot be reached|could not be sent")
    )
    opened.reload()
    expect(opened.locator("#connection .problem")).to_contain_text("The service cannot be reached.")
    opened.unroute("**/v1/**")
    opened.get_by_role("button", name="Try again: models").click()
    expect(opened.locator("#facts")).to_contain_text("8 classes")
    for _ in range(2):
        any_chromium.expect_problem("ERR_CONNECTION_REFUSED")
