"""The page for everybody: in light and dark, on a phone, by keyboard, by ear, and without a network."""

from collections import Counter

import pytest
from conftest import PAGE_SECONDS, Server
from pages import answered, ask
from playwright.sync_api import Browser, Page, expect

PATHS = ("", "documents", "document?id=1", "evaluation")

# Texts whose contrast with what is behind them is below 4.5:1; what is switched off need not be readable
FAINT = """
() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.e-]+/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return [...numbers.slice(0, 3).map((part) => part * scale), numbers[3] ?? 1];
  };
  const over = (top, below) =>
    [...[0, 1, 2].map((part) => top[part] * top[3] + below[part] * (1 - top[3])), 1];
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => part / 255).map((part) =>
      part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement)
      layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    if (element.closest("style, script, noscript, [disabled], [data-testid=stIconMaterial]")) continue;
    let opacity = 1;
    for (let at = element; at; at = at.parentElement) opacity *= Number(getComputedStyle(at).opacity);
    const ground = behind(element);
    const [r, g, b, a] = parse(getComputedStyle(element).color);
    const [one, other] = [light(over([r, g, b, a * opacity], ground)), light(ground)];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${text.slice(0, 60)}`);
  }
  return faint;
}
"""


def ready(page: Page) -> None:
    """Wait until the page is drawn."""
    expect(page.get_by_text("Matinee development")).to_be_visible()
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_text_is_readable_and_nothing_is_wider_than_the_screen_or_from_elsewhere(
    sample_server: Server, browser: Browser, scheme: str, width: int
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 740},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    context.set_default_timeout(PAGE_SECONDS * 1000)
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))

    def check(where: str) -> None:
        assert page.evaluate(FAINT) == [], f"{where} in {scheme}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, where

    for path in PATHS:
        page.goto(f"{sample_server.url}/{path}")
        ready(page)
        check(path)
    page.goto(sample_server.url)
    ask(page, "Why does the address stay the same after a stop?")
    answered(page)
    page.get_by_test_id("stExpander").first.locator("summary").click()
    expect(page.locator("mark.quote").first).to_be_visible()
    expect(page.get_by_role("img", name="with the passage highlighted").first).to_be_visible()
    page.get_by_text("How this was found").click()
    expect(page.get_by_role("region", name="Passages considered")).to_be_visible()
    check("an answer")
    ground = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 384) == (scheme == "dark")
    assert all(url.startswith((sample_server.url, "data:", "blob:")) for url in requests)
    context.close()


def test_every_control_has_a_name_of_its_own(sample_server: Server, page: Page) -> None:
    page.goto(sample_server.url)
    ask(page, "What does a stopped demo still cost?")
    answered(page)
    ask(page, "What is the CI user allowed to do?")
    answered(page, 2)
    for path in (page.url.removeprefix(f"{sample_server.url}/"), "documents", "document?id=1"):
        page.goto(f"{sample_server.url}/{path}")
        ready(page)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        names = page.get_by_role("button").evaluate_all(
            "buttons => buttons.filter((button) => button.checkVisibility()).map("
            "(button) => (button.ariaLabel ?? button.innerText).trim())"
        )
        repeated = [name for name, times in Counter(names).items() if times > 1]
        assert "" not in names, path
        assert repeated == [], path


def test_the_keyboard_is_enough(sample_server: Server, page: Page) -> None:
    page.goto(sample_server.url)
    ready(page)

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "document.activeElement.matches('a, button, summary') ? document.activeElement.innerText : ''"
            )
            if name in focused:
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
                return
        raise AssertionError(f"{name} is not reached with the Tab key")

    tab_to("Why does the address stay the same after a stop?")
    page.keyboard.press("Enter")
    answered(page)
    tab_to("A guide to Matinee.pdf, page")
    page.keyboard.press("Enter")
    expect(page.locator("mark.quote").first).to_be_visible()
    tab_to("Edit question 1")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Edit the question")).to_be_visible()
    tab_to("Cancel")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Edit the question")).to_have_count(0)
    tab_to("Skip to main content")  # round again: nothing keeps the focus
