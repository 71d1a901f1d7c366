"""A map of features as a page, in a browser: what is shown, found, switched off, and read aloud."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import browser
from feature_tables import write
from timesformer.errors import DataError, SettingError
from timesformer.features.projection import project_features
from timesformer.features.table import FeatureTable, read_feature_table
from timesformer.report import map as module
from timesformer.report.map import WrittenMap, check_map, write_map
from timesformer.report.map_pictures import pictures_of
from timesformer.video.encode import write_video

DRAWN = "pen.getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value)"
CORNERS = {"left": (0.0, 0.0), "right": (10.0, 6.0)}


def table_of(tmp_path: Path, videos: list[str], labels: list[str | None] | None, **values: Any) -> FeatureTable:
    """Rows of a class around its corner, in a plane."""
    tmp_path.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for number, video in enumerate(videos):
        label = labels[number] if labels else None
        vector = np.array([*CORNERS.get(label or "", (4.0, 3.0)), 0.0]) + generator.uniform(-1, 1, 3) * [1, 1, 0]
        row = {"id": video, "video": video, "start_s": 0.0, "end_s": 1.0, "vector": vector.astype(np.float32)}
        rows.append(row | ({"label": label} if labels else {}))
    return read_feature_table(write(tmp_path / "f.parquet", rows, 3, dtype="float32", **values))


@pytest.fixture(scope="module")
def written(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> WrittenMap:
    """A page of 16 videos of two classes, and of one that is not there."""
    folder = tmp_path_factory.mktemp("map")
    videos = sorted(str(path.relative_to(bars)) for path in bars.rglob("*.mp4"))
    labels: list[str | None] = [Path(video).parent.name for video in videos]
    table = table_of(folder, [*videos, "gone & <lost>.mp4"], [*labels, None])
    return write_map(table, project_features(table, "pca"), folder / "map.html", data=bars)


def content(file: Path) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', file.read_text("utf-8"), re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


def point(page: Any, number: int) -> tuple[float, float]:
    """Where a point is in the window."""
    x, y = page.evaluate(f"() => place({number})")
    box = page.locator("#canvas").bounding_box()
    return box["x"] + x, box["y"] + y


def test_what_was_written(written: WrittenMap) -> None:
    assert written.pictures == 16
    assert [problem.reason for problem in written.problems] == ["no such file"]
    data = content(written.file)
    assert [(one["name"], one["count"]) for one in data["classes"]] == [("left", 8), ("right", 8), ("no label", 1)]
    assert [picture is None for picture in data["pictures"]] == [False] * 16 + [True]
    assert data["id"][-1] == "gone & <lost>.mp4"
    points_N2 = project_features(read_feature_table(written.file.parent / "f.parquet"), "pca").points_N2
    shown_N2 = (
        torch.tensor([data["x"], [-y for y in data["y"]]]).T * (points_N2.max(0).values - points_N2.min(0).values)[0]
    )
    torch.testing.assert_close(
        torch.cdist(shown_N2[:1], shown_N2), torch.cdist(points_N2[:1], points_N2), atol=1e-3, rtol=0
    )


def test_pictures_on_hover_and_by_keyboard(written: WrittenMap, chromium: browser.Chromium) -> None:
    page = chromium.open(written.file)
    data = content(written.file)
    tip, canvas = page.locator("#tip"), page.locator("#canvas")
    assert not tip.is_visible()
    assert browser.broken_images(page) == []
    for number in (0, 12):
        page.mouse.move(*point(page, number))
        assert tip.locator("#tip-id").inner_text() == data["id"][number]
        assert tip.locator("#tip-class").inner_text() == data["classes"][data["label"][number]]["name"]
        assert tip.locator("img").get_attribute("src") == data["pictures"][number]
        assert browser.broken_images(page) == []
    page.mouse.move(*point(page, 16))  # without a picture
    assert tip.locator("#tip-id").inner_text() == "gone & <lost>.mp4"
    assert tip.locator("img").count() == 0
    page.mouse.move(5, 5)
    assert not tip.is_visible()
    canvas.focus()
    said = set()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown"):
        canvas.press(key)
        said.add(page.locator("#said").inner_text())
        assert tip.is_visible()
    assert len(said) >= 2
    assert all(re.search(r"^(\S+\.mp4, (left|right)|gone & <lost>.mp4, no label)$", text) for text in said)
    canvas.press("Escape")
    assert not tip.is_visible()


def test_arrows_go_to_the_next_point_of_their_direction(written: WrittenMap, chromium: browser.Chromium) -> None:
    page = chromium.open(written.file)
    data = content(written.file)
    x, y = np.array(data["x"]), np.array(data["y"])
    start = 16  # in the middle
    page.evaluate(f"() => show({start})")
    page.locator("#canvas").focus()
    page.evaluate(f"() => show({start})")
    page.locator("#canvas").press("ArrowRight")
    across, down = x - x[start], y - y[start]
    expected = int(np.where(across > 0, across + 2 * np.abs(down), np.inf).argmin())
    assert page.evaluate("() => chosen") == expected


def test_search_and_classes(written: WrittenMap, chromium: browser.Chromium) -> None:
    page = chromium.open(written.file)
    rows, found, listed = page.locator("#list li"), page.locator("#found"), page.locator("#listed")
    assert rows.count() == 17
    page.get_by_role("searchbox").fill("TRAIN right")
    assert found.inner_text() == "4 of 17"
    assert rows.count() == 4
    page.mouse.move(*point(page, 0))  # what is not found is pale, and does not answer
    assert not page.locator("#tip").is_visible()
    page.get_by_role("searchbox").fill("")
    assert found.inner_text() == ""
    page.get_by_role("checkbox", name="right").uncheck()
    assert listed.inner_text() == "9 of 17 videos"
    page.get_by_role("button", name="None").click()
    assert rows.count() == 0
    page.wait_for_function(f"() => !{DRAWN}")
    page.get_by_role("button", name="All").click()
    page.wait_for_function(f"() => {DRAWN}")
    assert rows.count() == 17
    rows.nth(2).get_by_role("button").click()
    assert page.locator("#tip-id").inner_text() == content(written.file)["id"][2]


def test_zooming_keeps_the_point_under_the_pointer(written: WrittenMap, chromium: browser.Chromium) -> None:
    page = chromium.open(written.file)
    before = point(page, 3)
    canvas = page.locator("#canvas")
    canvas.focus()
    page.mouse.move(*before)
    page.mouse.wheel(0, -600)
    page.wait_for_function("() => zoom > 2")
    assert point(page, 3) == pytest.approx(before, abs=1.5)
    page.mouse.down()
    page.mouse.move(before[0] + 40, before[1] + 25, steps=4)
    page.mouse.up()
    assert point(page, 3) == pytest.approx((before[0] + 40, before[1] + 25), abs=6)
    page.get_by_role("button", name="Fit").click()
    assert point(page, 3) == pytest.approx(before, abs=1.5)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light")])
def test_no_serious_fault(written: WrittenMap, chromium: browser.Chromium, width: int, scheme: Any) -> None:
    page = chromium.open(written.file, width=width, scheme=scheme)
    page.evaluate("() => show(4)")
    assert page.locator("#tip").is_visible()
    assert browser.faults(page) == []
    assert browser.broken_images(page) == []
    assert not browser.is_wider_than_window(page)


def test_a_window_has_the_frame_in_its_middle(tmp_path: Path) -> None:
    """Brightness rises by 10 a frame."""
    clip = (torch.arange(20) * 10).to(torch.uint8)[None, :, None, None].expand(3, 20, 48, 64)
    write_video(tmp_path / "video.mp4", clip, 10)
    rows = [
        {
            "id": f"video.mp4@{number}",
            "video": "video.mp4",
            "start_s": None if number == 3 else 0.5 * number,
            "end_s": None if number == 3 else 0.5 * number + 0.5,
            "vector": np.array([number, 1.0], np.float32),
        }
        for number in range(4)
    ]
    table = read_feature_table(write(tmp_path / "f.parquet", rows, 2, dtype="float32", window=0.5, stride=0.5))
    done: list[tuple[int, int]] = []
    found = pictures_of(table, tmp_path, lambda *counts: done.append(counts))
    assert (found.problems, done) == ([], [(1, 1)])
    assert [float(pixels(uri or "").mean()) for uri in found.of_rows] == pytest.approx([20, 70, 120, 100], abs=6)
    (tmp_path / "all.csv").write_text("path,label\n")
    assert pictures_of(table, tmp_path / "all.csv", lambda *_: None).of_rows == found.of_rows


def test_notes(tmp_path: Path, bars: Path, monkeypatch: pytest.MonkeyPatch, chromium: browser.Chromium) -> None:
    videos = sorted(str(path) for path in bars.rglob("*.mp4"))
    table = table_of(tmp_path, videos, None)
    projection = project_features(table, "pca")
    found = write_map(table, projection, tmp_path / "map.html")
    assert found.notes == ("no labels: all points have one colour",)
    assert found.pictures == 16  # by absolute paths
    page = chromium.open(found.file)
    assert page.locator(".note").all_inner_texts() == ["No labels: all points have one colour."]
    assert page.get_by_role("checkbox").count() == 0
    page.mouse.move(*point(page, 5))
    assert page.locator("#tip").inner_text() == videos[5]
    assert browser.faults(page) == []
    monkeypatch.setattr(module, "MOST_PICTURES", 15)
    found = write_map(table, projection, tmp_path / "map.html")
    assert found.notes[1] == "16 points: only maps of up to 15 have pictures of the videos"
    assert content(found.file)["pictures"] == []
    with pytest.raises(DataError, match=r"f.parquet: has 16 vectors; the map is of 4"):
        write_map(table, project_features(table_of(tmp_path / "few", videos[:4], None), "pca"), tmp_path / "map.html")


def test_paths_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<html>my own</html>")
    (tmp_path / "b.png").mkdir()
    for name, message in (
        ("map.pdf", r"map.pdf: cannot be a map; expected \*.html or \*.png"),
        ("map", "cannot be a map"),
        ("a.html", "exists and is no page of timesformer"),
        ("b.png", "is a folder; expected a file"),
        ("none/map.png", "no such folder"),
        ("none/map.html", "no such folder"),
    ):
        with pytest.raises(SettingError, match=message):
            check_map(tmp_path / name)
