"""The page, in a real browser on the real server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import screenshot
from conftest import PAGE_SECONDS, Server, serve, wait_for_index
from files import HARBOUR, LIGHTHOUSE, pdf, scanned_pdf
from llmock.pytest_plugin import LLMock
from pages import answered, ask, settled, upload
from PIL import Image
from playwright.sync_api import Browser, Page, expect

WHY = "Why does the address stay the same after a stop?"
COST = "What does a stopped demo still cost?"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The app without documents."""
    with serve(tmp_path / "data", MATINEE_VERSION="1a2b3c4d5e6f") as server:
        yield server


def model_of(llmock: LLMock) -> dict[str, str]:
    """Settings of a language model that is played."""
    return {
        "OPENAI_API_KEY": "sk-secret-of-the-test",
        "OPENAI_BASE_URL": llmock.base_url(),
        "OPENAI_MODEL": "gpt-4o-mini",
    }


def test_upload_ask_see_the_page_that_is_cited_and_be_refused(server: Server, page: Page) -> None:
    page.goto(server.url)
    assert page.title() == "Matinee"
    expect(page.get_by_test_id("stChatInputTextArea")).to_be_disabled()
    expect(page.get_by_text("Matinee 1a2b3c4d5e6f")).to_be_visible()

    upload(page, {"coast.pdf": pdf(HARBOUR, LIGHTHOUSE)})
    expect(page.get_by_text("Added coast.pdf.")).to_be_visible()
    expect(page.get_by_text("1 document to ask: coast.pdf")).to_be_visible()

    ask(page, "How far can the light of the lighthouse be seen?")
    expect(page.get_by_text("Quoted from the documents: no language model is set up.")).to_be_visible()
    expect(page.get_by_text("which can be seen from eighteen miles away.").first).to_be_visible()
    citation = page.get_by_test_id("stExpander").filter(has_text="coast.pdf, page").first
    citation.locator("summary").click()
    expect(citation.locator("mark.quote").filter(has_text="eighteen miles")).to_be_visible()
    picture = "Page 2 of coast.pdf with the passage highlighted"
    expect(citation.get_by_role("img", name=picture)).to_be_visible()

    with page.context.expect_page() as opened:
        page.get_by_role("link", name="[1]").first.click()
    reader = opened.value
    expect(reader.get_by_role("heading", name="coast.pdf")).to_be_visible()
    expect(reader.get_by_role("img", name=picture)).to_be_visible()
    expect(reader.locator("mark.quote").filter(has_text="eighteen miles")).to_be_in_viewport()
    with reader.expect_download() as download:
        reader.get_by_role("button", name="Download coast.pdf").click()
    assert download.value.path().read_bytes().startswith(b"%PDF")
    reader.close()

    ask(page, "What is the capital of France?")
    expect(page.get_by_text("Not in these documents.")).to_be_visible()
    expect(page.get_by_text(re.compile("^Searched .* by meaning and by words for .*France"))).to_be_visible()


def test_a_bad_file_does_not_stop_the_others(server: Server, page: Page) -> None:
    page.goto(f"{server.url}/documents")
    files = {
        "harbour.md": f"# The harbour\n\n{HARBOUR}".encode(),
        "scan.pdf": scanned_pdf([HARBOUR]),
        "cut.pdf": pdf(HARBOUR)[:300],
        "empty.txt": b"",
        "lighthouse.txt": LIGHTHOUSE.encode(),
    }
    upload(page, files)
    expect(page.get_by_text("Added harbour.md, lighthouse.txt.")).to_be_visible()
    for name in ("scan.pdf", "cut.pdf", "empty.txt"):
        expect(page.get_by_role("alert").filter(has_text=name)).to_be_visible()
    expect(page.get_by_role("heading", name="2 documents")).to_be_visible()

    upload(
        page, {"again.txt": LIGHTHOUSE.encode(), "harbour.md": LIGHTHOUSE.replace("1932", "1933").encode()}
    )
    expect(page.get_by_text("Already there, so nothing was added: lighthouse.txt.")).to_be_visible()
    expect(page.get_by_text("Replaced the earlier version of harbour.md.")).to_be_visible()
    expect(page.get_by_role("heading", name="2 documents")).to_be_visible()


def test_the_server_cannot_be_asked_for_what_only_it_can_reach(server: Server, page: Page) -> None:
    page.goto(f"{server.url}/documents")
    page.get_by_label("Or add a web page, or a file by its address").fill("http://127.0.0.1/secret.html")
    page.get_by_role("button", name="Add page").click()
    refused = "127.0.0.1 is in a private network. Only pages on the public internet can be fetched."
    expect(page.get_by_role("alert").filter(has_text=refused)).to_be_visible()
    expect(page.get_by_text("No documents yet.")).to_be_visible()


def test_documents_are_tagged_moved_and_removed(server: Server, page: Page) -> None:
    page.goto(f"{server.url}/documents")
    upload(page, {"harbour.txt": HARBOUR.encode(), "lighthouse.txt": LIGHTHOUSE.encode()})
    expect(page.get_by_text("Added harbour.txt, lighthouse.txt.")).to_be_visible()
    expect(page.get_by_role("combobox", name="Collection")).to_have_value("All collections")
    page.get_by_role("button", name="New collection").click()
    page.get_by_label("Name", exact=True).fill("Lights")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_text("No documents in this collection yet.")).to_be_visible()  # it is shown

    page.get_by_role("button", name="Rename collection").click()
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill("Documents")
    page.get_by_role("button", name="Rename", exact=True).click()
    taken = page.get_by_role("dialog").get_by_role("alert")
    expect(taken).to_contain_text("There is a collection “Documents” already.")
    page.get_by_role("dialog").get_by_label("Name", exact=True).fill("Beacons")
    page.get_by_role("button", name="Rename", exact=True).click()
    expect(page.get_by_role("combobox", name="Collection")).to_have_value("Beacons (0 documents)")

    upload(page, {"reef.txt": HARBOUR.replace("harbour", "reef").encode()})
    expect(page.get_by_text("Added reef.txt.")).to_be_visible()
    expect(page.get_by_role("combobox", name="Collection")).to_have_value("Beacons (1 document)")
    page.get_by_role("button", name="Remove reef.txt").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove the document").click()
    expect(page.get_by_role("combobox", name="Collection")).to_have_value("Beacons (0 documents)")
    settled(page)

    page.get_by_role("combobox", name="Collection").click()
    page.get_by_role("option", name="All collections").click()
    page.get_by_role("button", name="Edit lighthouse.txt").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox", name="Tags").fill("coast")
    page.keyboard.press("Enter")
    expect(dialog.get_by_text("coast", exact=True)).to_be_visible()
    page.keyboard.press("Tab")
    dialog.get_by_role("combobox", name="Collection").click()
    page.get_by_role("option", name="Beacons").click()
    dialog.get_by_role("button", name="Save").click()
    expect(page.get_by_text(re.compile("^Beacons · 1 passage"))).to_contain_text("coast")

    page.get_by_role("button", name="Remove harbour.txt").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove the document").click()
    expect(page.get_by_role("heading", name="1 document")).to_be_visible()
    expect(page.get_by_role("link", name="harbour.txt")).to_have_count(0)
    settled(page)

    page.get_by_role("combobox", name="Collection").click()
    page.get_by_role("option", name="Beacons").click()
    page.get_by_role("button", name="Remove collection").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove the collection").click()
    expect(page.get_by_role("combobox", name="Collection")).to_have_value("All collections")
    expect(page.get_by_text("No documents yet.")).to_be_visible()


def test_names_and_questions_are_shown_as_they_are(server: Server, page: Page) -> None:
    page.goto(server.url)
    text = f"<img src=x onerror=alert(1)> costs $5 or $6 in *Lindow*. {HARBOUR}"
    name = "a *b* [c](d) <i> :smile: &lt;.txt"
    upload(page, {name: text.encode()})
    expect(page.get_by_text(f"Added {name}.")).to_be_visible()
    ask(page, "When was the <b>harbour</b> of *Lindow* dredged?")
    answered(page)
    expect(page.get_by_test_id("stChatMessage").first).to_have_text(
        re.compile(re.escape("When was the <b>harbour</b> of *Lindow* dredged?"))
    )
    citation = page.get_by_test_id("stExpander").filter(has_text=name).first
    citation.locator("summary").click()
    expect(citation.locator("p.matinee-passage")).to_contain_text("<img src=x onerror=alert(1)>")
    page.goto(f"{server.url}/documents")
    page.get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.locator("p.matinee-passage")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("img[src=x]").count() == 0


def test_a_model_streams_its_answer_and_its_failure_is_told_in_words(
    tmp_path: Path, page: Page, llmock: LLMock
) -> None:
    with serve(tmp_path / "data", **model_of(llmock)) as server:
        page.goto(server.url)
        page.get_by_role("button", name="Try the sample").click()
        expect(page.get_by_text("Added A guide to Matinee.pdf.")).to_be_visible()
        llmock.reply(
            "An Elastic IP costs **3.65 USD** a month [1]. ![leak](http://127.0.0.1:9/leak.png)"
            " [click](http://127.0.0.1:9/leak)"
        )
        ask(page, "What does an Elastic IP cost?")
        answered(page)
        expect(page.get_by_text("3.65 USD").first).to_be_visible()
        expect(page.get_by_role("link", name="[1]")).to_be_visible()
        expect(page.get_by_text(re.compile(r"^openai gpt-4o-mini · .* tokens"))).to_be_visible()
        assert page.locator("[src*=leak], [href*=leak]").count() == 0

        llmock.reset()
        llmock.fail(401, times=None, message="Incorrect API key provided: sk-secret-of-the-test")
        ask(page, "What is the host's operating system?")
        answered(page, 2)
        expect(page.get_by_role("alert")).to_contain_text("OPENAI_API_KEY")
        expect(
            page.get_by_text("Quoted from the documents: the language model did not answer.")
        ).to_be_visible()
        assert "sk-secret" not in page.content()
        assert "sk-secret" not in server.stop()


def test_an_answer_can_be_stopped_and_goes_on_when_the_page_is_reloaded(
    tmp_path: Path, page: Page, llmock: LLMock
) -> None:
    words = " ".join(f"word{number}" for number in range(400))
    llmock.pace(50)
    with serve(tmp_path / "data", **model_of(llmock)) as server:
        page.goto(server.url)
        page.get_by_role("button", name="Try the sample").click()
        llmock.reply(words + " [1].")
        ask(page, COST)
        expect(page.get_by_text("word3 ")).to_be_visible()
        page.reload()
        expect(page.get_by_text("word9 ")).to_be_visible()
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_text("Stopped before the answer was whole.")).to_be_visible()
        assert not llmock.last_request.completed
        page.reload()
        expect(page.get_by_text("Stopped before the answer was whole.")).to_be_visible()
        expect(page.get_by_text("word9 ")).to_be_visible()

        llmock.pace(0)
        llmock.reply("An Elastic IP costs 3.65 USD a month [1].")
        page.get_by_role("button", name="Regenerate answer 1").click()
        expect(page.get_by_text("3.65 USD")).to_be_visible()
        expect(page.get_by_role("link", name="[1]").first).to_be_visible()
        expect(page.get_by_text("word9 ")).to_have_count(0)


@pytest.mark.parametrize("act", ["ask again", "delete"])
def test_an_answer_nobody_waits_for_any_more_stops_the_model(
    tmp_path: Path, page: Page, llmock: LLMock, act: str
) -> None:
    with serve(tmp_path / "data", **model_of(llmock)) as server:
        page.goto(server.url)
        page.get_by_role("button", name="Try the sample").click()
        llmock.reply("An Elastic IP costs 3.65 USD a month [1].")
        ask(page, COST)
        answered(page)
        llmock.reset()
        llmock.pace(50)
        llmock.reply(" ".join(f"word{number}" for number in range(400)))
        ask(page, "What is the CI user allowed to do?")
        expect(page.get_by_text("word3 ")).to_be_visible()
        if act == "ask again":
            page.get_by_role("button", name="Edit question 1").click()
            page.get_by_role("button", name="Ask again").click()
        else:
            page.get_by_role("button", name="Conversation", exact=True).click()
            page.get_by_text("Delete…").click()
            page.get_by_role("button", name="Delete the conversation").click()
            expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()
        while not llmock.requests:  # they are listed when they have ended
            page.wait_for_timeout(100)
        assert not llmock.requests[0].completed


def test_the_page_can_talk_to_no_other_server(sample_server: Server, page: Page) -> None:
    page.goto(sample_server.url)
    expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()
    blocked = page.evaluate("""() => new Promise((resolve) => {
        addEventListener("securitypolicyviolation", (event) => resolve(event.blockedURI));
        new WebSocket("ws://127.0.0.1:9/");
    })""")
    assert blocked.startswith("ws://127.0.0.1:9")


def test_a_model_reads_earlier_answers_without_their_marks(
    tmp_path: Path, page: Page, llmock: LLMock
) -> None:
    with serve(tmp_path / "data", **model_of(llmock)) as server:
        page.goto(server.url)
        page.get_by_role("button", name="Try the sample").click()
        llmock.reply("An Elastic IP costs 3.65 USD a month [1].")
        ask(page, "What does an Elastic IP cost?")
        answered(page)
        expect(page.get_by_role("link", name="[1]").first).to_be_visible()
        llmock.reset()
        llmock.reply("It may push images [1].")
        ask(page, "What is the CI user allowed to do?")
        answered(page, 2)
        assert "An Elastic IP costs 3.65 USD a month." in str(llmock.last_request.body)


def test_an_address_or_a_question_that_is_too_long_is_no_error(sample_server: Server, page: Page) -> None:
    page.goto(f"{sample_server.url}/document?id={'1' * 31}")
    expect(page.get_by_role("heading", name="No such document")).to_be_visible()
    page.goto(f"{sample_server.url}/?conversation={'1' * 31}")
    expect(page.get_by_text("There is no such conversation here.")).to_be_visible()
    box = page.get_by_test_id("stChatInputTextArea")
    expect(box).to_be_enabled()
    box.fill("a" * 4001)
    expect(box).to_be_empty()


def test_a_conversation_is_kept_found_renamed_exported_and_deleted(sample_server: Server, page: Page) -> None:
    page.goto(sample_server.url)
    page.get_by_role("button", name=WHY).click()
    answered(page)
    address = page.url
    page.reload()
    answered(page)
    expect(page.get_by_text(WHY)).not_to_have_count(0)

    page.get_by_role("link", name="New chat").click()
    expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()
    ask(page, COST)
    answered(page)
    expect(page).not_to_have_url(address)

    search = page.get_by_role("searchbox", name="Search conversations")
    search.fill("address SAME")
    search.press("Enter")
    expect(page.get_by_role("link", name=COST)).to_have_count(0)
    expect(page.get_by_role("link", name=WHY)).to_have_count(1)
    page.get_by_role("link", name=WHY).click()
    expect(page).to_have_url(address)
    expect(page.get_by_role("heading", name=WHY, exact=True)).to_be_visible()
    settled(page)

    page.get_by_role("button", name="Conversation", exact=True).click()
    page.get_by_role("textbox", name="Title").fill("The address")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="The address", exact=True)).to_be_visible()
    settled(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as Markdown").click()
    assert download.value.path().read_text().startswith(f"# The address\n\n## {WHY}\n\n")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as JSON").click()
    assert json.loads(download.value.path().read_text())["messages"][0]["question"] == WHY
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete the conversation").click()
    expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()
    page.goto(address)
    expect(page.get_by_text("There is no such conversation here.")).to_be_visible()


def test_editing_a_question_asks_it_anew_and_thumbs_stay(sample_server: Server, page: Page) -> None:
    page.goto(sample_server.url)
    page.get_by_role("button", name=COST).click()
    answered(page, 1)
    ask(page, "And what is the CI user allowed to do?")
    answered(page, 2)
    page.get_by_role("button", name="Edit question 1").click()
    page.get_by_label("Edit the question").fill(WHY)
    page.get_by_role("button", name="Ask again").click()
    answered(page, 1)
    expect(page.get_by_test_id("stChatMessage").first).to_contain_text(WHY)

    page.get_by_role("radio", name="Thumbs down").click()
    page.get_by_placeholder("What is good or wrong about it?").fill("The price is missing.")
    page.keyboard.press("Enter")
    page.get_by_text("How this was found").click()
    expect(page.get_by_role("region", name="Passages considered")).to_contain_text("A guide to Matinee.pdf")
    page.reload()
    expect(page.get_by_role("radio", name="Thumbs down")).to_be_checked()
    expect(page.get_by_placeholder("What is good or wrong about it?")).to_have_value("The price is missing.")


def test_a_filter_asks_some_documents_only(server: Server, page: Page) -> None:
    page.goto(server.url)
    upload(page, {"harbour.txt": HARBOUR.encode(), "lighthouse.txt": LIGHTHOUSE.encode()})
    expect(page.get_by_text("Added harbour.txt, lighthouse.txt.")).to_be_visible()
    page.get_by_role("button", name="Asking all documents").click()
    page.get_by_role("combobox", name="Documents to ask").click()
    page.get_by_role("option", name="harbour.txt").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Asking 1 document")).to_be_visible()
    ask(page, "How far can the light of the lighthouse be seen?")
    expect(page.get_by_text("Not in these documents.")).to_be_visible()

    # What was chosen is gone
    page.get_by_role("link", name="Documents").click()
    upload(page, {"reef.txt": LIGHTHOUSE.replace("lighthouse", "reef").encode()})
    expect(page.get_by_text("Added reef.txt.")).to_be_visible()
    page.get_by_role("button", name="Remove harbour.txt").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove the document").click()
    expect(page.get_by_role("heading", name="2 documents")).to_be_visible()
    page.get_by_role("link", name="Chat", exact=True).click()
    expect(page.get_by_role("button", name="Asking all documents")).to_be_visible()
    ask(page, "How far can the light of the lighthouse be seen?")
    expect(page.get_by_text("which can be seen from eighteen miles away.").first).to_be_visible()


def test_another_person_sees_neither_conversations_nor_private_documents(
    server: Server, page: Page, browser: Browser
) -> None:
    page.goto(f"{server.url}/documents")
    page.get_by_role("button", name="New collection").click()
    page.get_by_label("Name", exact=True).fill("Secrets")
    page.get_by_text("Private: nobody else sees it").click()
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_text("No documents in this collection yet.")).to_be_visible()
    upload(page, {"harbour.txt": HARBOUR.encode()})
    expect(page.get_by_text("Added harbour.txt.")).to_be_visible()
    page.get_by_role("link", name="harbour.txt").click()
    expect(page.locator("p.matinee-passage")).to_contain_text("1874")
    document = page.url
    page.goto(server.url)
    ask(page, "When was the harbour dredged?")
    answered(page)
    conversation = page.url

    context = browser.new_context()
    context.set_default_timeout(PAGE_SECONDS * 1000)
    other = context.new_page()
    other.goto(conversation)
    expect(other.get_by_text("There is no such conversation here.")).to_be_visible()
    other.goto(document)
    expect(other.get_by_role("heading", name="No such document")).to_be_visible()
    other.goto(f"{server.url}/documents")
    expect(other.get_by_text("No documents yet.")).to_be_visible()
    assert "Secrets" not in other.content()
    assert "harbour" not in other.content()
    context.close()


def test_a_new_process_serves_beside_the_old_one_and_takes_over_when_it_is_killed(
    tmp_path: Path, page: Page
) -> None:
    in_old, in_new = page, page.context.new_page()
    with serve(tmp_path / "data") as old, serve(tmp_path / "data") as new:
        in_old.goto(old.url)
        in_new.goto(new.url)
        upload(in_old, {"harbour.txt": HARBOUR.encode()})
        expect(in_old.get_by_text("Added harbour.txt.")).to_be_visible()
        wait_for_index(old.health)
        assert new.health() == {"status": "ok", "documents": 1, "index": "waiting"}

        upload(in_new, {"lighthouse.txt": LIGHTHOUSE.encode()})
        expect(in_new.get_by_text("Added lighthouse.txt.")).to_be_visible()
        ask(in_old, "How far can the light of the lighthouse be seen?")
        expect(in_old.get_by_text("which can be seen from eighteen miles away.").first).to_be_visible()

        old.process.kill()
        wait_for_index(new.health)
        # what was said to the old process is known to the new one
        in_new.goto(in_old.url.replace(old.url, new.url))
        expect(in_new.get_by_text("which can be seen from eighteen miles away.").first).to_be_visible()
        ask(in_new, "When was the harbour dredged?")
        expect(in_new.get_by_text("dredged in 1874").first).to_be_visible()


def test_the_picture_in_the_documentation_can_be_taken(tmp_path: Path, browser: Browser) -> None:
    picture = tmp_path / "page.png"
    screenshot.take(browser, picture)
    with Image.open(picture) as image:
        assert image.width == 1280
    assert picture.stat().st_size < 300_000
