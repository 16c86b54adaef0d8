"""Files that mean harm, or are only broken: each is read or refused in words, soon and in little memory."""

import io
import multiprocessing
import resource
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from random import Random

import pytest
from files import HARBOUR, LIGHTHOUSE, docx, pdf, pptx, xlsx
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from matinee.documents import SUFFIXES, DocumentError, Kind, load, safe_name, split
from matinee.documents.names import LONGEST_NAME
from matinee.settings import Settings

SECONDS = 30  # of processor time; what takes the longest here takes four
MEGABYTES = 600  # of which Python and its packages take up 150

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
LAUGHS = (
    "<?xml version='1.0'?><!DOCTYPE l [<!ENTITY a 'ha'>"
    + "".join(f"<!ENTITY {chr(98 + i)} '{f'&{chr(97 + i)};' * 10}'>" for i in range(9))
    + "]>"
)
OUTSIDE = "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>"


def word() -> bytes:
    return docx(lambda document: document.add_paragraph(HARBOUR))


def slides() -> bytes:
    def write(presentation: object) -> None:
        slide = presentation.slides.add_slide(presentation.slide_layouts[5])  # type: ignore[attr-defined]
        slide.shapes.title.text = "The harbour"

    return pptx(write)


def workbook() -> bytes:
    return xlsx({"Depths": [["Year", "Depth"], [1874, 6]]})


def with_part(data: bytes, name: str, change: Callable[[bytes], bytes | None]) -> bytes:
    """Return an office file with one part changed, or left out."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for part in source.namelist():
            content = source.read(part)
            changed = change(content) if part == name else content
            if changed is not None:
                target.writestr(part, changed)
    return buffer.getvalue()


def refusal(name: str, data: bytes) -> str:
    with pytest.raises(DocumentError) as error:
        load(name, data)
    assert str(error.value).startswith(name)
    return str(error.value)


@pytest.mark.parametrize(
    ("data", "part"), [(word(), "word/document.xml"), (workbook(), "xl/worksheets/sheet1.xml")]
)
@pytest.mark.parametrize("declaration", [LAUGHS, OUTSIDE])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_entities_are_refused(data: bytes, part: str, declaration: str, encoding: str) -> None:
    bomb = with_part(data, part, lambda _: f"{declaration}<x>&a;</x>".encode(encoding))
    assert "declares XML entities" in refusal("bomb.docx", bomb)


@pytest.mark.parametrize(
    ("data", "part"),
    [(word(), "word/bomb.xml"), (workbook(), "xl/worksheets/sheet1.xml"), (slides(), "ppt/media/bomb.png")],
)
def test_zip_bombs_are_refused_before_they_are_unpacked(data: bytes, part: str) -> None:
    buffer = io.BytesIO(data)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive, archive.open(f"{part}2", "w") as bomb:
        for _ in range(300):
            bomb.write(bytes(1_000_000))
    assert len(buffer.getvalue()) < 1_000_000
    assert "unpacks to 30" in refusal("bomb.xlsx", buffer.getvalue())


def test_an_archive_that_lies_about_its_size_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", bytes(50_000_000))
    size = (50_000_000).to_bytes(4, "little")
    assert "damaged" in refusal("bomb.docx", buffer.getvalue().replace(size, (10).to_bytes(4, "little")))


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (word(), "word/document.xml"),
        (word(), "word/_rels/document.xml.rels"),
        (word(), "word/styles.xml"),
        (word(), "[Content_Types].xml"),
        (slides(), "ppt/presentation.xml"),
        (slides(), "ppt/slides/slide1.xml"),
        (workbook(), "xl/workbook.xml"),
        (workbook(), "xl/worksheets/sheet1.xml"),
    ],
)
@pytest.mark.parametrize(
    "change", [lambda _: None, lambda _: b"", lambda content: content[: len(content) // 2]]
)
def test_an_office_file_with_a_broken_part_is_read_or_refused(
    data: bytes, part: str, change: Callable[[bytes], bytes | None]
) -> None:
    try:
        load("broken.docx", with_part(data, part, change))
    except DocumentError as error:
        assert str(error).startswith("broken.docx ")


def test_letters_without_a_height_are_read() -> None:
    document = FPDF()
    document.set_compression(False)
    document.set_font("Times", size=12)
    document.add_page()
    document.multi_cell(0, 6, f"{HARBOUR}\n{LIGHTHOUSE}")
    flat = bytes(document.output()).replace(b"12.00 Tf", b"00.00 Tf")
    assert "harbour" in load("flat.pdf", flat).text


@pytest.mark.parametrize("whole", [word(), slides(), workbook(), pdf(HARBOUR, LIGHTHOUSE)])
@given(random=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_a_file_with_any_bytes_changed_is_read_or_refused(whole: bytes, random: Random) -> None:
    data = bytearray(whole)
    for _ in range(random.randint(1, 20)):
        data[random.randrange(len(data))] = random.randrange(256)
    try:
        load("changed.pdf", bytes(data[: random.randint(1, len(data))] if random.random() < 0.3 else data))
    except DocumentError as error:
        assert str(error).startswith("changed.pdf ")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_binary_junk_is_refused_whatever_it_is_called(suffix: str) -> None:
    junk = Random(suffix).randbytes(20_000)  # noqa: S311
    assert refusal(f"junk{suffix}", b"\x01" + junk)


@given(data=st.binary(min_size=1, max_size=300), suffix=st.sampled_from(SUFFIXES))
@settings(max_examples=200, deadline=None)
def test_no_bytes_at_all_make_a_traceback(data: bytes, suffix: str) -> None:
    try:
        load(f"junk{suffix}", data)
    except DocumentError as error:
        assert str(error).startswith("junk")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "old.doc",
            OLE + "WordDocument".encode("utf-16-le"),
            "save it as DOCX",
        ),
        ("old.xls", OLE + "Workbook".encode("utf-16-le"), "save it as XLSX"),
        (
            "old.ppt",
            OLE + "PowerPoint Document".encode("utf-16-le"),
            "save it as PPTX",
        ),
        (
            "locked.docx",
            OLE + "EncryptedPackage".encode("utf-16-le"),
            "password",
        ),
        ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "text recognition"),
        ("photo.txt", b"\xff\xd8\xff\xe0" + bytes(100), "text recognition"),
        ("film.mp4", b"\x00\x00\x00\x18ftypmp42" + bytes(100), "transcript"),
        ("setup.exe", b"MZ\x90\x00" + bytes(100), "program"),
        ("files.tar.gz", b"\x1f\x8b" + bytes(100), "Unpack it"),
        ("letter.rtf", b"{\\rtf1 Hello}", "save it as DOCX"),
        ("nothing.pdf", b"%PDF-1.7\n", "damaged or cut short"),
    ],
)
def test_what_is_not_read_says_what_to_do(name: str, data: bytes, message: str) -> None:
    assert message in refusal(name, data)


def test_an_archive_of_files_says_what_to_do() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../etc/passwd", "text")
    assert "Unpack it" in refusal("files.zip", buffer.getvalue())


@pytest.mark.parametrize(
    ("name", "data", "kind", "what"),
    [
        ("coast.txt", pdf(HARBOUR), Kind.PDF, "a PDF file"),
        ("coast.pdf", word(), Kind.MARKDOWN, "a DOCX file"),
        ("coast.docx", workbook(), Kind.TABLE, "a XLSX file"),
        ("coast.pdf", HARBOUR.encode(), Kind.TEXT, "plain text"),
    ],
)
def test_a_file_is_what_it_holds_and_says_so_if_its_name_says_otherwise(
    name: str, data: bytes, kind: Kind, what: str
) -> None:
    document = load(name, data)
    assert document.kind is kind
    assert document.notices == (f"It is {what} in spite of its name, and was read as such.",)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\report.pdf", "report.pdf"),
        ("/srv/data/report.pdf/", "report.pdf"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\x00b\nc\x1b[31m.txt", "abc[31m.txt"),
        ("  spaced \t out .txt ", "spaced out .txt"),
        ("zero\u200bwidth\ufeff.md", "zerowidth.md"),
        ("\ud800.txt", ".txt"),
        ("", "document"),
        ("..", "document"),
        ("///", "document"),
        ("Bericht für Zoë 港.pdf", "Bericht für Zoë 港.pdf"),
        (".env", ".env"),
    ],
)
def test_names_are_made_safe_to_show(name: str, safe: str) -> None:
    assert safe_name(name) == safe
    assert load(name, b"text").name == safe


@given(name=st.text(max_size=300) | st.just("x" * 5000 + ".pdf"))
@settings(max_examples=200, deadline=None)
def test_any_name_becomes_a_short_one_without_a_folder(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe) <= LONGEST_NAME
    assert not set("/\\\0\n\r\u202e") & set(safe)
    assert safe.isprintable()
    assert safe_name(safe) == safe
    safe.encode()


def test_a_long_name_keeps_its_suffix() -> None:
    assert safe_name("x" * 5000 + ".pdf").endswith("x.pdf")


def test_a_web_page_becomes_text_without_what_runs_in_it() -> None:
    page = """<html><head><title>Coast</title><script>alert(1)</script><style>p{color:red}</style></head>
    <body onload="alert(2)"><nav>Home | About</nav><iframe src="javascript:alert(3)">frame</iframe>
    <!-- alert(6) -->
    <h2 onclick="alert(4)">Harbour</h2><p>Dredged in <a href="javascript:alert(5)">1874</a>.</p>
    <img src="data:image/svg+xml;base64,alert7" alt="drawing"><object data="alert(8)">object</object>
    <table><tr><th>Year</th><th>Depth</th></tr><tr><td>1874</td><td>6 m</td></tr></table>
    <p hidden>secret</p><svg><text>alert(9)</text></svg><footer>Imprint</footer></body></html>"""
    assert load("coast.html", page.encode()).text == (
        "# Coast\n\n## Harbour\n\nDredged in 1874.\n\n| Year | Depth |\n| --- | --- |\n| 1874 | 6 m |"
    )


def test_formulas_in_a_table_stay_text() -> None:
    cells = ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)"]
    text = load("table.csv", f"Name,Note\n{''.join(f'x,{cell}\n' for cell in cells)}".encode()).text
    assert text.splitlines() == [f"Name: x; Note: {cell}" for cell in cells]


@pytest.mark.parametrize(
    "encoding",
    [
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-32",
        "latin-1",
        "cp1252",
        "koi8_r",
        "cp1251",
        "shift_jis",
    ],
)
def test_text_is_read_in_any_encoding(encoding: str) -> None:
    text = {
        "koi8_r": "Гавань Линдова была углублена в 1874 году.\n",
        "cp1251": "Гавань Линдова была углублена в 1874 году.\n",
        "shift_jis": "リンドウ港は1874年に浚渫された。穀物船が入り口で座礁した後のことである。\n",
    }.get(encoding, "Der Hafen wurde 1874 für größere Schiffe ausgebaggert.\n")
    assert load("hafen.txt", (text * 3).encode(encoding)).text == text * 3


def test_line_ends_are_made_alike_and_what_cannot_be_printed_is_left_out() -> None:
    text = "one\r\ntwo\rthree\nfour\x00\x07\ufffe five" + " more" * 200
    assert load("a.txt", text.encode()).text == "one\ntwo\nthree\nfour five" + " more" * 200
    surrogate = b"one \xed\xa0\x80 two" + b" more" * 200
    assert load("a.txt", surrogate).text.encode()


def claimed_rows() -> bytes:
    """Return a workbook that claims all rows there are, and has two, the last one far down."""
    far = '<row r="1048576"><c r="A1048576" t="inlineStr"><is><t>treasure</t></is></c></row>'
    return with_part(
        workbook(),
        "xl/worksheets/sheet1.xml",
        lambda content: content.replace(b"</sheetData>", far.encode() + b"</sheetData>").replace(
            b"<sheetData>", b'<dimension ref="A1:XFD1048576"/><sheetData>'
        ),
    )


def claimed_columns() -> bytes:
    """Return a workbook each of whose rows has but one cell, in the last column there is."""
    rows = "".join(f'<row r="{i}"><c r="XFD{i}"><v>1</v></c></row>' for i in range(10, 100_000))
    return with_part(
        workbook(),
        "xl/worksheets/sheet1.xml",
        lambda content: content.replace(b"</sheetData>", rows.encode() + b"</sheetData>"),
    )


def deep_docx() -> bytes:
    """Return a Word document of tables within tables."""
    depth = 5000
    table = "<w:tbl><w:tr><w:tc>" * depth + "<w:p/>" + "</w:tc></w:tr></w:tbl>" * depth
    return with_part(
        word(),
        "word/document.xml",
        lambda content: content.replace(b"<w:body>", b"<w:body>" + table.encode()),
    )


HEAVY: dict[str, Callable[[], bytes]] = {
    "line.txt": lambda: b"the lighthouse stands on the mole " * 300_000,
    "word.txt": lambda: b"a" * 500_000,
    "japanese.txt": lambda: "港".encode() * 500_000,
    "quotes.md": lambda: b">" * 200_000 + b" deep",
    "list.md": lambda: b"".join(b" " * (depth % 500) + b"- x\n" for depth in range(10_000)),
    "brackets.json": lambda: b"[" * 500_000,
    "deep.html": lambda: b"<html>" + b"<div>" * 100_000 + b"treasure" + b"</div>" * 100_000,
    "unclosed.html": lambda: b"<html>" + b"<p><li><td><b>x" * 10_000,
    "tags.html": lambda: b"<html>" + b"<p>x</p>" * 30_000,
    "attributes.html": lambda: b"<html><a " + b"x=1 " * 1_000_000 + b">text</a>",
    "quotation.csv": lambda: b'a,b\n"' + b"x," * 500_000,
    "wide.csv": lambda: b",".join(b"%d" % number for number in range(40_000)) * 5,
    "rows.xlsx": claimed_rows,
    "columns.xlsx": claimed_columns,
    "deep.docx": deep_docx,
    "long.pdf": lambda: pdf(*[HARBOUR + LIGHTHOUSE] * 500),
}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Executor]:
    """A process of its own, whose memory is that of loading and splitting."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        yield executor


def measure(name: str) -> tuple[str, float, float]:
    """Load and split a heavy file; returns the outcome, the processor's seconds and the most MB so far."""
    data = HEAVY[name]()
    tokenizer = Tokenizer.from_file(str(Settings().model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    started = time.process_time()
    try:
        outcome = f"{len(split(load(name, data), tokenizer))} passages"
    except DocumentError as error:
        outcome = str(error)
    seconds = time.process_time() - started
    return outcome, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


@pytest.mark.parametrize("name", HEAVY)
def test_large_and_deep_files_take_little_time_and_memory(elsewhere: Executor, name: str) -> None:
    outcome, seconds, megabytes = elsewhere.submit(measure, name).result()
    assert outcome.endswith(" passages") or outcome.startswith(f"{name} ")
    assert seconds < SECONDS
    assert megabytes < MEGABYTES
