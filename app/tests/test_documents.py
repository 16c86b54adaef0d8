"""Loading and splitting: every offset gives back the text, and every bad file says what is wrong with it."""

from itertools import pairwise

import pytest
from files import HARBOUR, LIGHTHOUSE, pdf, scanned_pdf
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from matinee.documents import PASSAGE_TOKENS, Document, DocumentError, load, split
from matinee.settings import Settings

TOKENIZER = Tokenizer.from_file(str(Settings().model / "tokenizer.json"))
TOKENIZER.no_truncation()
TOKENIZER.no_padding()

prose = st.lists(
    st.text(st.characters(codec="utf-8"), max_size=200) | st.just(HARBOUR) | st.just("\n\n"), max_size=20
).map("".join)


@given(text=prose, name=st.sampled_from(["a.txt", "a.md"]))
@settings(max_examples=60, deadline=None)
def test_passages_lie_in_order_and_leave_out_nothing_but_white_space(text: str, name: str) -> None:
    spans = split(Document(name, text), TOKENIZER)
    covered = 0
    for span in spans:
        assert covered >= span.start or not text[covered : span.start].strip()
        assert 0 <= span.start < span.end <= len(text)
        assert (
            len(TOKENIZER.encode(text[span.start : span.end], add_special_tokens=False).ids) <= PASSAGE_TOKENS
        )
        covered = max(covered, span.end)
    assert not text[covered:].strip()
    assert all(left.start < right.start for left, right in pairwise(spans))


@given(pages=st.lists(prose, min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_the_page_of_an_offset_is_the_page_its_character_came_from(pages: list[str]) -> None:
    starts = tuple(sum(len(page) + 1 for page in pages[:index]) for index in range(len(pages)))
    document = Document("a.pdf", "\n".join(pages), starts)
    for number, (start, page) in enumerate(zip(starts, pages, strict=True), 1):
        for offset in (start, start + len(page)):
            assert document.page_at(offset) == number


def test_a_pdf_keeps_its_pages() -> None:
    document = load("coast.pdf", pdf(HARBOUR, LIGHTHOUSE))
    assert document.page_at(document.text.index("Lindow")) == 1
    assert document.page_at(document.text.index("rape oil")) == 2


def test_lines_wrapped_by_a_pdf_are_joined_again() -> None:
    text = load("coast.pdf", pdf(f"The harbour\n{HARBOUR}\nThe lamp\n{LIGHTHOUSE}")).text
    assert HARBOUR in text
    assert LIGHTHOUSE in text
    assert "\nThe lamp\n" in text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_is_read_in_the_encoding_it_is_in(encoding: str) -> None:
    text = (
        "Der Hafen wurde 1874 für größere Schiffe ausgebaggert. Die Gebühr dafür zahlten die Händler.\n" * 5
    )
    assert load("hafen.txt", text.encode(encoding)).text == text


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.pdf", b"", "empty (0 bytes)"),
        ("blank.txt", b" \n\t\n", "no text in it"),
        ("letter.docx", b"PK", "is a .docx file"),
        ("letter", b"text", "without an extension"),
        ("not.pdf", b"This is no PDF at all.", "damaged or cut short"),
        ("cut.pdf", pdf(HARBOUR)[:300], "damaged or cut short"),
        ("secret.pdf", pdf(HARBOUR, password="opensesame"), "protected by a password"),
        ("scan.pdf", scanned_pdf([HARBOUR]), "looks like a scan"),
        ("program.txt", bytes(range(256)) * 20, "does not read as text"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(name: str, data: bytes, message: str) -> None:
    with pytest.raises(DocumentError) as error:
        load(name, data)
    assert str(error.value).startswith(name)
    assert message in str(error.value)


@given(cut=st.integers(min_value=1, max_value=3000))
@settings(max_examples=40, deadline=None)
def test_a_pdf_cut_anywhere_is_read_or_refused_in_words(cut: int) -> None:
    whole = pdf(HARBOUR, LIGHTHOUSE)
    try:
        text = load("cut.pdf", whole[: -(cut % len(whole))]).text
    except DocumentError as error:
        assert str(error).startswith("cut.pdf")
    else:
        assert HARBOUR in text
        assert LIGHTHOUSE in text
