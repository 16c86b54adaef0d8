"""Take the picture of the page for the documentation: python tests/screenshot.py ../docs/page.png."""

import sys
import tempfile
from pathlib import Path

from browser import CHROMIUM, CHROMIUM_FLAGS
from conftest import serve
from PIL import Image
from playwright.sync_api import Browser, ViewportSize, expect, sync_playwright

SIZE = ViewportSize(width=1280, height=900)


def take(browser: Browser, picture: Path) -> None:
    """Write a picture of the page with an answered question and an open citation."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder) / "data", MATINEE_VERSION="1.0.0") as server,
    ):
        page = browser.new_page(viewport=SIZE)
        page.goto(server.url)
        page.get_by_role("button", name="Try the sample").click()
        page.get_by_role("button", name="What is the CI user allowed to do?").click()
        citation = page.get_by_test_id("stExpander").first
        citation.locator("summary").click()
        expect(citation.locator("mark.quote").first).to_be_visible()
        expect(citation.get_by_role("img").first).to_be_visible()
        page.get_by_test_id("stSpinner").wait_for(state="detached")
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=picture, animations="disabled")
        page.close()
    with Image.open(picture) as image:
        image.convert("RGB").save(picture, optimize=True)


if __name__ == "__main__":
    with sync_playwright() as playwright:
        take(playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS), Path(sys.argv[1]))
