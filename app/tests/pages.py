"""What a person does with the page."""

from playwright.sync_api import FilePayload, Page, expect


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


def answered(page: Page, times: int = 1) -> None:
    """Wait until this many questions are answered, and what was on the page before is gone from it."""
    ratings = page.get_by_role("radiogroup", name="Feedback rating")
    expect(ratings).to_have_count(times)
    settled(page)
    expect(ratings).to_have_count(times)


def settled(page: Page) -> None:
    """Wait until the server has drawn all of the page."""
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
