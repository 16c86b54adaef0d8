"""Loading: every kind of file becomes text that reads well, and every bad file says what is wrong with it."""

from collections.abc import Iterable
from datetime import date, datetime
from io import BytesIO
from typing import Any

import pytest
from files import HARBOUR, LIGHTHOUSE, docx, pdf, pptx, scanned_pdf, xlsx
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from matinee.documents import Document, DocumentError, Kind, load

prose = st.lists(
    st.text(st.characters(codec="utf-8"), max_size=200) | st.just(HARBOUR) | st.just("\n\n"), max_size=20
).map("".join)


@given(pages=st.lists(prose, min_size=1, max_size=6))
@settings(max_examples=30, deadline=None)
def test_the_page_of_an_offset_is_the_page_its_character_came_from(pages: list[str]) -> None:
    starts = tuple(sum(len(page) + 1 for page in pages[:index]) for index in range(len(pages)))
    document = Document("a.pdf", "\n".join(pages), Kind.PDF, starts)
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


def test_a_pdf_in_two_columns_reads_column_by_column() -> None:
    paper = FPDF()
    paper.set_font("Times", size=12)
    paper.add_page()
    with paper.text_columns(ncols=2, gutter=10, text_align="J") as columns:
        columns.write(f"{HARBOUR} {LIGHTHOUSE} " * 5)
    text = load("coast.pdf", bytes(paper.output())).text
    assert text.count(HARBOUR) == text.count(LIGHTHOUSE) == 5


def test_headings_of_a_pdf_stand_apart() -> None:
    paper = FPDF()
    paper.add_page()
    for heading, body in (("1 The harbour", HARBOUR), ("2 The lamp", LIGHTHOUSE)):
        paper.set_font("Times", "B", 16)
        paper.cell(0, 10, heading, new_x="LMARGIN", new_y="NEXT")
        paper.set_font("Times", size=12)
        paper.multi_cell(0, 6, body, new_x="LMARGIN", new_y="NEXT")
    text = load("coast.pdf", bytes(paper.output())).text
    assert text == f"1 The harbour\n\n{HARBOUR}\n\n\n2 The lamp\n\n{LIGHTHOUSE}"


def test_running_heads_are_kept_once_and_page_numbers_not_at_all() -> None:
    class Book(FPDF):
        def header(self) -> None:
            self.cell(0, 10, "Coast survey", new_x="LMARGIN", new_y="NEXT")

        def footer(self) -> None:
            self.set_y(-15)
            self.cell(0, 10, f"Page {self.page_no()} of 5")

    book = Book()
    book.set_font("Times", size=12)
    for number in range(5):
        book.add_page()
        book.multi_cell(0, 6, f"In {1874 + number} {HARBOUR[0].lower()}{HARBOUR[1:]}")
    document = load("coast.pdf", bytes(book.output()))
    assert document.text.count("Coast survey") == 1
    assert "Page" not in document.text
    assert document.page_at(document.text.index("1878")) == 5


def test_words_divided_at_a_lines_end_are_whole_and_keep_the_hyphens_they_have_elsewhere() -> None:
    text = load("coast.pdf", pdf("The light-\nhouse is well-known.\nA well-\nknown light.")).text
    assert "lighthouse is well-known." in text
    assert "A well-known light." in text


def test_pages_without_text_are_named() -> None:
    paper = FPDF()
    paper.set_font("Times", size=12)
    picture = BytesIO()
    Image.new("L", (100, 100), "gray").save(picture, "PNG")
    for number in range(1, 9):
        paper.add_page()
        if number in (3, 5, 6, 7):
            paper.image(picture, 0, 0, 210)
        elif number != 8:  # which is just empty
            paper.multi_cell(0, 6, HARBOUR)
    assert load("coast.pdf", bytes(paper.output())).notices == (
        "Pages 3 and 5 to 7 of 8 have no text: they look like scans. "
        "Run the file through text recognition (OCR) and upload the result.",
    )


def stamped(pages: Iterable[str | None], stamp: str) -> bytes:
    """Return a PDF whose pages have a text, or a picture as large as the page for None, and all a stamp."""

    class Stamped(FPDF):
        def footer(self) -> None:
            self.set_y(-15)
            self.cell(0, 10, stamp.format(number=self.page_no(), pages=len(texts)))

    texts = list(pages)
    paper = Stamped()
    paper.set_font("Times", size=12)
    for text in texts:
        paper.add_page()
        if text is None:
            paper.image(Image.new("L", (100, 141), "gray"), 0, 0, 210)
        else:
            paper.multi_cell(0, 6, text)
    return bytes(paper.output())


def test_scanned_pages_with_a_running_foot_are_named() -> None:
    typed = [f"In {1874 + number} {HARBOUR[0].lower()}{HARBOUR[1:]}" for number in range(18)]
    pages = [None, *typed, "Chapter two", *[None] * 9, ""]
    document = load("coast.pdf", stamped(pages, "Page {number} of {pages}"))
    assert "Page" not in document.text
    assert "Chapter two" in document.text
    assert document.notices == (
        "Pages 1 and 21 to 29 of 30 have no text: they look like scans. "
        "Run the file through text recognition (OCR) and upload the result.",
    )


@pytest.mark.parametrize("stamp", ["Page {number} of {pages}", "{number}", "Lindow archive"])
@pytest.mark.parametrize("pages", [1, 2, 4])
def test_a_scan_with_nothing_but_stamps_is_refused_with_advice(stamp: str, pages: int) -> None:
    with pytest.raises(DocumentError, match=r"looks like a scan.*\(OCR\)"):
        load("scan.pdf", stamped([None] * pages, stamp))


def test_pages_with_pictures_and_words_are_no_scans() -> None:
    paper = FPDF()
    paper.set_auto_page_break(False)
    paper.set_font("Times", size=12)
    picture = Image.new("L", (100, 100), "gray")
    for caption, width in (("The lamp as it was lit in 1881", 190), ("The lamp", 40)):
        paper.add_page()
        paper.image(picture, 10, 30, width)
        paper.set_y(280)
        paper.cell(0, 10, caption)
    assert load("coast.pdf", bytes(paper.output())).notices == ()


def test_a_word_document_becomes_markdown() -> None:
    def write(word: Any) -> None:
        word.sections[0].header.paragraphs[0].text = "Confidential"
        word.add_heading("Survey", 0)
        word.add_paragraph(HARBOUR)
        word.add_heading("The lamp", 2)
        word.add_paragraph("a mole", style="List Bullet")
        word.add_paragraph("a lamp", style="List Bullet")
        table = word.add_table(2, 2)
        for cell, text in zip(table._cells, ["Year", "Light", "1881", "rape | oil"], strict=True):
            cell.text = text
        word.add_paragraph("light it", style="List Number")
        word.add_paragraph("trim it", style="List Number")
        word.add_paragraph("The end.")

    assert load("survey.docx", docx(write)) == Document(
        "survey.docx",
        f"# Survey\n\n{HARBOUR}\n\n## The lamp\n\n- a mole\n- a lamp\n\n"
        "| Year | Light |\n| --- | --- |\n| 1881 | rape \\| oil |\n\n1. light it\n2. trim it\n\nThe end.",
        Kind.MARKDOWN,
    )


def test_a_slide_is_a_page() -> None:
    def write(presentation: Any) -> None:
        for title in ("The harbour", "The lamp"):
            slide = presentation.slides.add_slide(presentation.slide_layouts[1])
            slide.shapes.title.text = title
            slide.placeholders[1].text = "first\nsecond"
        slide.notes_slide.notes_text_frame.text = "Speak up."
        group = slide.shapes.add_group_shape()
        group.shapes.add_textbox(0, 0, 100, 100).text_frame.text = "in a group"
        table = slide.shapes.add_table(1, 2, 0, 0, 100, 100).table
        table.cell(0, 0).text, table.cell(0, 1).text = "Year", "1881"

    first = "The harbour\n\n- first\n- second"
    second = (
        "The lamp\n\n- first\n- second\n\nin a group\n\n| Year | 1881 |\n| --- | --- |\n\nNotes: Speak up."
    )
    assert load("coast.pptx", pptx(write)) == Document(
        "coast.pptx", f"{first}\n\n{second}", Kind.SLIDES, (0, len(first) + 2)
    )


def test_a_row_of_a_workbook_is_a_line_that_says_what_its_cells_are() -> None:
    data = xlsx(
        {
            "Depths": [
                ["Depths of the channel"],
                [],
                ["Place", "Metres", "Measured", "Ok"],
                ["Mole\nhead", 1.1 + 2.2, date(1874, 5, 1), True],
                ["Bar", "=B4*2", datetime(1932, 1, 2, 3, 4), None],
            ],
            "Notes": [["All at low water."]],
        }
    )
    first = (
        "Depths | Depths of the channel\n"
        "Depths | Place: Mole head; Metres: 3.3; Measured: 1874-05-01; Ok: TRUE\n"
        "Depths | Place: Bar; Metres: =B4*2; Measured: 1932-01-02 03:04"
    )
    assert load("depths.xlsx", data) == Document(
        "depths.xlsx",
        f"{first}\n\nNotes | All at low water.",
        Kind.TABLE,
        (0, len(first) + 2),
        ("Depths", "Notes"),
    )


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Name,Born\nAda,1815\nBob,\n", "Name: Ada; Born: 1815\nName: Bob"),
        ('Name;Note\n"A; B";"two\nlines"\n', "Name: A; B; Note: two lines"),
        ("Name\tBorn\nAda, née Byron\t1815\n", "Name: Ada, née Byron; Born: 1815"),
        ("Item,2023,2024\nCoal,5,6\n", "Item: Coal; 2023: 5; 2024: 6"),
        ("Ada,1815\nBob,1816\n", "Ada; 1815\nBob; 1816"),
        ("one column\nonly\n", "one column\nonly"),
    ],
)
def test_a_table_is_read_with_its_delimiter_and_header(data: str, text: str) -> None:
    assert load("people.csv", data.encode()) == Document("people.csv", text, Kind.TABLE)


def test_code_begins_with_its_files_name() -> None:
    code = "def dredge():\n    return 1874\n"
    assert load("harbour.py", code.encode()) == Document("harbour.py", f"harbour.py\n\n{code}", Kind.CODE)


@pytest.mark.parametrize("name", ["README", "notes.txt", "unknown.suffix"])
def test_text_is_read_whatever_it_is_called(name: str) -> None:
    assert load(name, HARBOUR.encode()) == Document(name, HARBOUR, Kind.TEXT)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.pdf", b"", "empty (0 bytes)"),
        ("blank.txt", b" \n\t\n", "no text in it"),
        ("cut.docx", docx(lambda word: word.add_paragraph(HARBOUR))[:500], "damaged or cut short"),
        ("junk.pdf", bytes(range(128, 256)) * 20, "is damaged"),
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
