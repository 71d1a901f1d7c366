"""What every page has: it is whole, safe, small, and works in a browser."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from jinja2 import UndefinedError
from PIL import Image

import browser
from timesformer.errors import SettingError, VideoError
from timesformer.report import page as pages
from timesformer.report.page import check_page, data_uri, write_page
from timesformer.report.thumbnails import picture_uri, thumbnail
from timesformer.video.encode import write_video

TABLE = """{% extends "base.html" %}
{% block title %}Table{% endblock %}
{% block header %}<h1>{{ heading }}</h1>{% endblock %}
{% block main %}
<section class="card">
<label>Search <input type="search" data-filters="rows"></label> <output data-count-of="rows"></output>
<div class="scroll" tabindex="0" role="region" aria-label="Fruit">
<table class="sortable" id="rows"><thead><tr><th data-sort="text">Name</th><th data-sort="number">Weight</th>
</tr></thead><tbody>
<tr><th scope="row">pear 10</th><td data-value="3">3 kg</td></tr>
<tr><th scope="row">pear 9</th><td data-value="">unknown</td></tr>
<tr><th scope="row">apple</th><td data-value="12">12 kg</td></tr>
</tbody></table></div>
<p class="right">right</p><p class="wrong">wrong</p><p class="muted">muted</p>
<a href="#rows">link</a> <button class="button" aria-pressed="true">pressed</button>
<pre>timesformer report</pre>
<img alt="" src="{{ picture }}">
</section>
{% endblock %}
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page of a template of its own."""
    templates = tmp_path / "templates"
    templates.mkdir()
    for file in pages.TEMPLATES.iterdir():
        (templates / file.name).write_bytes(file.read_bytes())
    (templates / "table.html").write_text(TABLE)
    monkeypatch.setattr(pages, "TEMPLATES", templates)
    pages._environment.cache_clear()
    picture = picture_uri(torch.zeros(3, 4, 6, dtype=torch.uint8))
    file = write_page(tmp_path / "table.html", "table.html", heading="A <b> & \udcff", picture=picture)
    pages._environment.cache_clear()
    return file


def test_text_is_escaped_and_bytes_that_are_not_utf_8_are_visible(table: Path) -> None:
    assert "<h1>A &lt;b&gt; &amp; \\udcff</h1>" in table.read_text("utf-8")


def names(page: object) -> list[str]:
    return page.locator("tbody tr:visible th").all_inner_texts()


def test_tables_sort_both_ways_with_empty_values_last(table: Path, chromium: browser.Chromium) -> None:
    page = chromium.open(table)
    weight, name = page.get_by_role("button", name="Weight"), page.get_by_role("button", name="Name")
    weight.click()
    assert names(page) == ["apple", "pear 10", "pear 9"]
    assert page.locator("th", has_text="Weight").get_attribute("aria-sort") == "descending"
    weight.press("Enter")  # by keyboard
    assert names(page) == ["pear 10", "apple", "pear 9"]
    name.click()
    assert names(page) == ["apple", "pear 9", "pear 10"]
    assert page.locator("th[aria-sort]").count() == 1


def test_search_leaves_rows_with_all_words_and_says_how_many(table: Path, chromium: browser.Chromium) -> None:
    page = chromium.open(table)
    page.get_by_role("searchbox").fill("1 PEAR")
    assert names(page) == ["pear 10"]
    assert page.locator("output").inner_text() == "1 of 3"
    page.get_by_role("searchbox").fill("")
    assert len(names(page)) == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_look_has_no_serious_fault_and_fits_a_phone(table: Path, chromium: browser.Chromium, scheme: str) -> None:
    page = chromium.open(table, width=390, height=800, scheme=scheme)
    assert browser.faults(page) == []
    assert browser.broken_images(page) == []
    assert not browser.is_wider_than_window(page)


def test_the_checks_of_pages_find_what_is_wrong(tmp_path: Path, any_chromium: browser.Chromium) -> None:
    (tmp_path / "bad.html").write_text(
        "<html><body><img src='data:image/png;base64,AAAA'><img src='https://example.com/a.png'>"
        "<p style='color:#ddd;background:#fff'>pale</p><div style='width:3000px'>wide</div>"
        "<script>console.error('oh'); missing()</script></body></html>"
    )
    page = any_chromium.open(tmp_path / "bad.html")
    assert any(fault.startswith("image-alt") for fault in browser.faults(page))
    assert any(fault.startswith("color-contrast") for fault in browser.faults(page))
    assert len(browser.broken_images(page)) == 2
    assert browser.is_wider_than_window(page)
    found = "\n".join(any_chromium.problems)
    assert "console: oh" in found
    assert "script: missing is not defined" in found
    assert "request: https://example.com/a.png" in found
    any_chromium.close_pages()


def test_pages_take_only_the_place_of_pages(tmp_path: Path, table: Path) -> None:
    assert check_page(table) == table
    (tmp_path / "empty.html").touch()
    check_page(tmp_path / "empty.html")
    (tmp_path / "mine.html").write_text("<html>my own</html>")
    with pytest.raises(SettingError, match=r"mine.html: exists and is no page of timesformer; name another file"):
        check_page(tmp_path / "mine.html")
    with pytest.raises(SettingError, match=r"a.pdf: cannot be a page; expected \*.html"):
        check_page(tmp_path / "a.pdf")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(SettingError, match="is a folder"):
        check_page(tmp_path / "folder.html")
    with pytest.raises(SettingError, match="no such folder"):
        check_page(tmp_path / "none" / "a.html")
    assert (tmp_path / "mine.html").read_text() == "<html>my own</html>"


def test_a_page_that_fails_leaves_what_was_there(tmp_path: Path, table: Path) -> None:
    before = table.read_bytes()
    (pages.TEMPLATES / "torn.html").write_text('{% extends "base.html" %}{% block main %}{{ nothing }}{% endblock %}')
    pages._environment.cache_clear()
    with pytest.raises(UndefinedError, match="'nothing' is undefined"):
        write_page(table, "torn.html")
    pages._environment.cache_clear()
    assert table.read_bytes() == before


def test_a_thumbnail_is_the_middle_frame_scaled(tmp_path: Path) -> None:
    clip = torch.zeros(3, 9, 64, 128, dtype=torch.uint8)
    clip[:, 4] = 200
    write_video(tmp_path / "video.mp4", clip, 10)
    uri = thumbnail(tmp_path / "video.mp4", 32)
    head, _, content = uri.partition(",")
    assert head == "data:image/webp;base64"
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert image.shape == (32, 64, 3)
    assert abs(image.astype(int) - 200).max() < 12
    with pytest.raises(VideoError):
        thumbnail(tmp_path / "none.mp4")


def test_addresses_hold_their_files() -> None:
    assert data_uri(b"\x00\xff", "video/mp4") == "data:video/mp4;base64,AP8="
