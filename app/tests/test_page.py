"""The page, in a real browser on the real server."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import screenshot
from conftest import Server, serve
from files import HARBOUR, LIGHTHOUSE, pdf, scanned_pdf
from llmock.pytest_plugin import LLMock
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The app without documents."""
    with serve(tmp_path / "data", MATINEE_VERSION="1a2b3c4d5e6f") as server:
        yield server


def ask(page: Page, question: str) -> None:
    """Type a question and send it."""
    box = page.get_by_test_id("stChatInputTextArea")
    expect(box).to_be_enabled()
    box.fill(question)
    box.press("Enter")


def upload(page: Page, files: dict[str, bytes]) -> None:
    """Upload files at once, by their names."""
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(
        [
            FilePayload(name=name, mimeType="application/octet-stream", buffer=data)
            for name, data in files.items()
        ]
    )


def test_upload_ask_open_the_citation_and_be_refused(server: Server, page: Page) -> None:
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(server.url)
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_disabled()
    expect(page.get_by_text("Matinee 1a2b3c4d5e6f")).to_be_visible()

    upload(page, {"coast.pdf": pdf(HARBOUR, LIGHTHOUSE)})
    expect(page.get_by_text("Added coast.pdf.")).to_be_visible()
    expect(page.get_by_text("2 pages")).to_be_visible()

    ask(page, "How far can the light of the lighthouse be seen?")
    expect(page.get_by_text("extractive: no model is configured")).to_be_visible()
    expect(page.get_by_text("which can be seen from eighteen miles away.").first).to_be_visible()
    citation = page.get_by_test_id("stExpander").filter(has_text="coast.pdf, page")
    citation.locator("summary").first.click()
    expect(citation.locator("mark.quote").filter(has_text="eighteen miles")).to_be_visible()
    expect(citation.locator("p.matinee-passage").first).to_contain_text(
        "The lighthouse stands on the northern mole."
    )

    ask(page, "What is the capital of France?")
    expect(page.get_by_text("Not in these documents.")).to_be_visible()
    expect(page.get_by_text("of 1 document, by meaning and by words")).to_be_visible()

    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No documents yet")).to_be_visible()
    assert all(url.startswith((server.url, "data:", "blob:")) for url in requests)


def test_a_bad_file_does_not_stop_the_others(server: Server, page: Page) -> None:
    page.goto(server.url)
    files = {
        "harbour.md": f"# The harbour\n\n{HARBOUR}".encode(),
        "scan.pdf": scanned_pdf([HARBOUR]),
        "cut.pdf": pdf(HARBOUR)[:300],
        "empty.txt": b"",
        "lighthouse.txt": LIGHTHOUSE.encode(),
    }
    upload(page, files)
    expect(page.get_by_text("Added harbour.md, lighthouse.txt.")).to_be_visible()
    expect(page.get_by_text("scan.pdf has 1 page but no text: it looks like a scan.")).to_be_visible()
    expect(page.get_by_text("cut.pdf is damaged or cut short")).to_be_visible()
    expect(page.get_by_text("empty.txt is empty (0 bytes).")).to_be_visible()
    expect(page.get_by_text("2 documents", exact=True)).to_be_visible()

    upload(page, {"again.txt": LIGHTHOUSE.encode()})
    expect(page.get_by_text("lighthouse.txt is here already; nothing was added.")).to_be_visible()
    expect(page.get_by_text("2 documents", exact=True)).to_be_visible()


def test_names_and_questions_are_shown_as_they_are(server: Server, page: Page) -> None:
    page.goto(server.url)
    text = f"<img src=x onerror=alert(1)> costs $5 or $6 in *Lindow*. {HARBOUR}"
    upload(page, {"a *b* [c](d) <i>.txt": text.encode()})
    expect(page.get_by_text("Added a *b* [c](d) <i>.txt.")).to_be_visible()
    ask(page, "When was the <b>harbour</b> of *Lindow* dredged?")
    expect(page.get_by_text("When was the <b>harbour</b> of *Lindow* dredged?")).to_be_visible()
    citation = page.get_by_test_id("stExpander").filter(has_text="a *b* [c](d) <i>.txt").first
    citation.locator("summary").click()
    expect(citation.locator("p.matinee-passage")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("img[src=x]").count() == 0


def test_a_model_streams_its_answer_and_its_failure_is_told_in_words(
    tmp_path: Path, page: Page, llmock: LLMock
) -> None:
    model = {
        "OPENAI_API_KEY": "sk-secret-of-the-test",
        "OPENAI_BASE_URL": llmock.base_url(),
        "OPENAI_MODEL": "gpt-4o-mini",
    }
    with serve(tmp_path / "data", **model) as server:
        page.goto(server.url)
        page.get_by_role("button", name="Try the sample").click()
        expect(page.get_by_text("Added A guide to Matinee.pdf.")).to_be_visible()
        llmock.reply("An Elastic IP costs **3.65 USD** a month [1]. ![leak](http://127.0.0.1:9/leak.png)")
        ask(page, "What does an Elastic IP cost?")
        expect(page.get_by_text("3.65 USD").first).to_be_visible()
        expect(page.get_by_test_id("stExpander")).to_have_count(1)
        assert page.locator("img[src*=leak]").count() == 0

        llmock.reset()
        llmock.fail(401, times=None, message="Incorrect API key provided: sk-secret-of-the-test")
        ask(page, "What is the host's operating system?")
        expect(
            page.get_by_text("127.0.0.1 did not accept the key; check OPENAI_API_KEY (status 401).")
        ).to_be_visible()
        expect(page.get_by_text("extractive: the model did not answer")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()
        assert "sk-secret" not in page.content()
        assert "sk-secret" not in server.stop()


def test_it_fits_a_phone(server: Server, page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(server.url)
    page.get_by_role("button", name="Try the sample").click()
    ask(page, "Why does the address stay the same after a stop?")
    expect(page.get_by_test_id("stExpander").first).to_be_visible()
    page.get_by_test_id("stExpander").first.locator("summary").click()
    expect(page.locator("p.matinee-passage").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_picture_in_the_documentation_can_be_taken(tmp_path: Path, browser: Browser) -> None:
    picture = tmp_path / "page.png"
    screenshot.take(browser, picture)
    with Image.open(picture) as image:
        assert image.width == 1280
    assert picture.stat().st_size < 300_000
