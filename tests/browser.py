"""A real browser: the system's Chromium where there is one, else the one that Playwright brought."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Error, Page, expect, sync_playwright

# Nothing but the page under test: no updates, no reports, no look-ups of their own
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

TRIES = 3


@contextmanager
def new_page(width: int = 1280, height: int = 900) -> Iterator[Page]:
    """Yield a page of a headless browser of the given size in pixels."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            yield browser.new_page(viewport={"width": width, "height": height})
        finally:
            browser.close()


def visit(page: Page, url: str, test_id: str, text: str | None = None) -> None:
    """Open a page and wait until an element with this text is on it.

    It is reloaded, as a person would, when that takes long: Chromium drops what it is loading whenever the
    machine's networks change, as other tests change them.
    """
    for trial in range(TRIES):
        try:
            page.goto(url)
            expect(page.get_by_test_id(test_id).filter(has_text=text).first).to_be_visible(timeout=30_000)
        except (Error, AssertionError):
            if trial + 1 == TRIES:
                raise
        else:
            return
