"""Pages in a real browser: Debian's Chromium, driven by Playwright, with no network but the service of a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
INSIDE = ("file:", "data:", "blob:", "about:")
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@contextmanager
def chromium() -> Iterator[Chromium]:
    """A browser; skips the test where there is none, with what to install."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="pages are tested with Playwright: pip install -e '.[dev]'"
    )
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip("pages are tested in Chromium: apt-get install --no-install-recommends chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", *FAKE_CAMERA], timeout=300_000
        )
        try:
            yield Chromium(browser)
        finally:
            browser.close()


class Chromium:
    """Opens pages, and keeps what went wrong in them.

    problems: errors of consoles and scripts, and requests that leave the file.
    """

    def __init__(self, browser: object) -> None:
        self._browser, self._contexts = browser, []
        self.problems: list[str] = []

    def open(
        self,
        place: Path | str,
        width: int = 1280,
        height: int = 900,
        scheme: Literal["light", "dark"] = "light",
        permissions: tuple[str, ...] = (),
    ):
        """Playwright's page of a file, or of a service at http://HOST:PORT/, in a window of so many pixels."""
        inside = (*INSIDE, place) if isinstance(place, str) else INSIDE
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
            permissions=permissions,
        )
        self._contexts.append(context)
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.on("console", lambda line: self._note("console", line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self._note("script", str(error)))
        page.on("request", lambda request: self._note_request(request.url, inside))
        page.route(lambda url: not url.startswith(inside), lambda route: route.abort())
        page.goto(place if isinstance(place, str) else place.resolve().as_uri())
        return page

    def expect_problem(self, text: str) -> None:
        """One problem that a test has caused, which is then none any more."""
        found = [problem for problem in self.problems if text in problem]
        assert found, self.problems
        self.problems.remove(found[0])

    def close_pages(self) -> None:
        for context in self._contexts:
            context.close()
        self._contexts.clear()
        self.problems.clear()

    def _note(self, what: str, text: str) -> None:
        self.problems.append(f"{what}: {text}")

    def _note_request(self, url: str, inside: tuple[str, ...]) -> None:
        if not url.startswith(inside):
            self._note("request", url)


def faults(page) -> list[str]:
    """What axe finds that is serious or critical: its rule, and where."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def broken_images(page) -> list[str]:
    """The first characters of the addresses of pictures that did not load."""
    return page.evaluate(
        "() => [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src.slice(0, 80))"
    )


def is_wider_than_window(page) -> bool:
    """Whether a reader must scroll sideways."""
    return page.evaluate("() => document.documentElement.scrollWidth > window.innerWidth")
