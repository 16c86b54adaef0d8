"""The page of a PDF as a picture: what is quoted is highlighted, and no page makes it large."""

import threading
from io import BytesIO

import pytest
from files import HARBOUR, LIGHTHOUSE, pdf
from fpdf import FPDF
from PIL import Image, ImageChops

from matinee.documents import DocumentError, load
from matinee.documents.picture import MAX_HEIGHT, WIDTH, YELLOW, draw_page

type Box = tuple[int, int, int, int]


def draw(data: bytes, page: int = 1, *quotes: str) -> Image.Image:
    return Image.open(BytesIO(draw_page(data, page, quotes)))


def highlighted(image: Image.Image) -> Box | None:
    """Return the box around all that is yellow."""
    difference = ImageChops.difference(image, Image.new("RGB", image.size, YELLOW)).convert("L")
    return Image.eval(difference, lambda value: 255 if value == 0 else 0).getbbox()


def test_a_page_is_drawn_without_highlights_if_nothing_is_quoted() -> None:
    image = draw(pdf(HARBOUR))
    assert image.format == "PNG"
    assert image.width == WIDTH
    assert highlighted(image) is None


def test_a_quote_is_highlighted_where_it_stands() -> None:
    data = pdf(f"{HARBOUR}\n\n\n\n\n{LIGHTHOUSE}")
    harbour, lighthouse = highlighted(draw(data, 1, HARBOUR)), highlighted(draw(data, 1, LIGHTHOUSE))
    assert harbour
    assert lighthouse
    assert harbour[3] < lighthouse[1]
    assert highlighted(draw(data, 1, HARBOUR, LIGHTHOUSE)) == (
        min(harbour[0], lighthouse[0]),
        harbour[1],
        max(harbour[2], lighthouse[2]),
        lighthouse[3],
    )


def test_a_quote_is_found_though_lines_were_joined_and_hyphens_removed() -> None:
    data = pdf("The light-\nhouse   stands on the nor-\nthern mole.\nIts lamp was first lit in 1881.")
    box = highlighted(draw(data, 1, "The lighthouse stands on the northern mole."))
    first, last = highlighted(draw(data, 1, "The light-")), highlighted(draw(data, 1, "thern mole."))
    assert box
    assert first
    assert last
    assert (box[1], box[3]) == (first[1], last[3])


def test_a_quote_over_a_page_break_is_highlighted_on_both_pages() -> None:
    first, second = "The work took nine months and", "was paid for by a toll on coal."
    data = pdf(f"{LIGHTHOUSE} {first}", f"{second} {LIGHTHOUSE}")
    document = load("coast.pdf", data)
    start = document.text.index(first)
    quote = document.text[start : document.text.index(second) + len(second)]
    assert highlighted(draw(data, 1, quote)) == highlighted(draw(data, 1, first))
    assert highlighted(draw(data, 2, quote)) == highlighted(draw(data, 2, second))


def test_every_passage_of_a_loaded_page_is_found_on_it() -> None:
    data = pdf(f"{HARBOUR}\n\n{LIGHTHOUSE}")
    text = load("coast.pdf", data).text
    assert highlighted(draw(data, 1, text)) == highlighted(draw(data, 1, HARBOUR, LIGHTHOUSE))


@pytest.mark.parametrize("quote", ["", " ", "?!", "not on this page", "x" * 100_000, "\ud800"])
def test_what_is_not_on_the_page_highlights_nothing(quote: str) -> None:
    assert highlighted(draw(pdf(HARBOUR), 1, quote)) is None


@pytest.mark.parametrize("size", [(1, 1), (3, 14_000), (14_000, 3), (14_000, 14_000)])
def test_no_page_makes_a_large_picture(size: tuple[int, int]) -> None:
    document = FPDF(unit="pt", format=size)
    document.add_page()
    image = draw(bytes(document.output()))
    assert 1 <= image.width <= WIDTH
    assert 1 <= image.height <= MAX_HEIGHT


def test_rotated_pages_are_highlighted_in_place() -> None:
    upright = FPDF()
    upright.set_font("Times", size=12)
    upright.add_page()
    upright.multi_cell(0, 6, HARBOUR)
    data = bytes(upright.output())
    turned = data.replace(b"/Type /Page\n", b"/Type /Page /Rotate 90\n")
    assert turned != data
    box = highlighted(draw(turned, 1, HARBOUR))
    assert box
    assert box[3] - box[1] > box[2] - box[0]  # lines run down the page


@pytest.mark.parametrize(("data", "page"), [(pdf(HARBOUR), 0), (pdf(HARBOUR), 2), (b"no PDF", 1), (b"", 1)])
def test_what_cannot_be_drawn_is_said(data: bytes, page: int) -> None:
    with pytest.raises(DocumentError):
        draw_page(data, page, [])


def test_pages_are_drawn_and_loaded_by_several_threads_at_once() -> None:
    data = pdf(*[HARBOUR, LIGHTHOUSE] * 10)
    expected = draw_page(data, 1, [HARBOUR]), load("coast.pdf", data).text
    results: list[bool] = []

    def work() -> None:
        for _ in range(3):
            results.append((draw_page(data, 1, [HARBOUR]), load("coast.pdf", data).text) == expected)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 12
