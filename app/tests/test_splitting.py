"""Splitting: passages are whole thoughts, leave nothing out, and fit the embedding model."""

from itertools import pairwise

import pytest
from files import HARBOUR, LIGHTHOUSE
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from matinee.documents import PASSAGE_TOKENS, Document, Kind, Span, split
from matinee.documents.splitting import LONGEST_WORD, OVERLAP_TOKENS, PASSAGE_CHARACTERS
from matinee.settings import Settings

TOKENIZER = Tokenizer.from_file(str(Settings().model / "tokenizer.json"))
TOKENIZER.no_truncation()
TOKENIZER.no_padding()

pieces = (
    st.text(st.characters(codec="utf-8"), max_size=200)
    | st.text("aé港 .\n#-`>|", max_size=300)
    | st.sampled_from(
        [HARBOUR, "\n\n", "\n\n\n", "## Heading\n\n", "```\n# code\n```\n", "x" * 250, "- item\n"]
    )
)
prose = st.lists(pieces, max_size=20).map("".join)


def tokens(text: str) -> int:
    return len(TOKENIZER.encode(text, add_special_tokens=False).ids)


def passages(text: str, kind: Kind = Kind.TEXT) -> list[str]:
    return [text[span.start : span.end] for span in split(Document("a", text, kind), TOKENIZER)]


def check(document: Document, spans: list[Span]) -> None:
    """Check what holds for every document."""
    text, covered = document.text, 0
    for span in spans:
        passage = text[span.start : span.end]
        assert passage == passage.strip() != ""
        assert not text[covered : span.start].strip()
        assert len(passage) <= PASSAGE_CHARACTERS
        assert tokens(passage) <= PASSAGE_TOKENS
        assert (span.page, span.last_page) == (document.page_at(span.start), document.page_at(span.end - 1))
        covered = max(covered, span.end)
    assert not text[covered:].strip()
    assert all(left.start < right.start and left.end < right.end for left, right in pairwise(spans))


@pytest.mark.parametrize("kind", Kind)
@given(text=prose)
@settings(max_examples=40, deadline=None)
def test_passages_lie_in_order_fit_the_model_and_leave_out_nothing(kind: Kind, text: str) -> None:
    document = Document("a", text, kind)
    check(document, split(document, TOKENIZER))


@pytest.mark.parametrize("kind", [Kind.PDF, Kind.SLIDES, Kind.TABLE])
@given(pages=st.lists(prose, min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_passages_know_their_pages_and_stay_on_a_slide_or_sheet(kind: Kind, pages: list[str]) -> None:
    starts = tuple(sum(len(page) + 1 for page in pages[:index]) for index in range(len(pages)))
    document = Document("a", "\n".join(pages), kind, starts)
    spans = split(document, TOKENIZER)
    check(document, spans)
    assert kind is Kind.PDF or all(span.page == span.last_page for span in spans)


@pytest.mark.parametrize("kind", [Kind.MARKDOWN, Kind.TEXT])
def test_a_heading_stays_with_its_section(kind: Kind) -> None:
    gap = "\n\n" if kind is Kind.MARKDOWN else "\n\n\n"
    sections = [f"## The harbour {number}\n\n{HARBOUR} {LIGHTHOUSE}\n\n{HARBOUR}" for number in range(8)]
    assert passages(gap.join(sections), kind) == sections


def test_prose_is_split_between_sentences_and_overlaps_by_some() -> None:
    found = passages(
        " ".join(f"In {year} the harbour of Lindow was dredged again." for year in range(1800, 1860))
    )
    assert len(found) > 2
    for left, right in pairwise(found):
        assert left.endswith(".")
        shared = max(length for length in range(len(right)) if left.endswith(right[:length]))
        assert 0 < tokens(right[:shared]) <= OVERLAP_TOKENS
        assert right[:shared].endswith(".")


def test_rows_of_a_table_stay_whole_and_are_in_one_passage_each() -> None:
    rows = [
        f"Year: {year}; Depth: {year % 7} m; Remark: dredged by the grain company"
        for year in range(1800, 1900)
    ]
    found = passages("\n".join(rows), Kind.TABLE)
    assert [row for passage in found for row in passage.split("\n")] == rows


def test_a_row_larger_than_a_passage_is_divided() -> None:
    row = "; ".join(f"Column {number}: {number}" for number in range(200))
    assert len(passages(f"Year: 1800\n{row}\nYear: 1801", Kind.TABLE)) > 2


def test_code_is_split_between_functions_in_whole_lines() -> None:
    functions = [
        f"def dredge_{number}(depth):\n"
        + "".join(f"    channel[{line}] = depth * {line}\n" for line in range(10))
        + "\n    return channel\n"
        for number in range(10)
    ]
    code = "\n\n".join(functions)
    found = passages(code, Kind.CODE)
    assert all(passage.startswith("def dredge_") for passage in found)
    assert [line for passage in found for line in passage.splitlines() if line] == [
        line for line in code.splitlines() if line
    ]


def test_a_comment_in_fenced_code_is_no_heading() -> None:
    text = f"# Title\n\n{HARBOUR}\n\n```sh\n# not a heading\nls\n```\n\n{LIGHTHOUSE}"
    assert passages(text, Kind.MARKDOWN) == [text]


def test_words_are_divided_only_if_no_model_knows_them() -> None:
    blob = "x" * 5000
    assert "".join(passages(blob)) == blob
    words = " ".join("y" * LONGEST_WORD for _ in range(20))
    assert " ".join(passages(words, Kind.CODE)) == words


def test_pages_are_joined_in_one_passage_but_slides_are_not() -> None:
    text = f"{HARBOUR}\n{LIGHTHOUSE}"
    starts = (0, len(HARBOUR) + 1)
    assert split(Document("a", text, Kind.PDF, starts), TOKENIZER) == [Span(0, len(text), 1, 2)]
    assert split(Document("a", text, Kind.SLIDES, starts), TOKENIZER) == [
        Span(0, len(HARBOUR), 1, 1),
        Span(len(HARBOUR) + 1, len(text), 2, 2),
    ]
