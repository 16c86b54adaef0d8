"""The sample PDF is what its Markdown source says."""

from importlib import resources

from markdown_it import MarkdownIt

from matinee.documents import load


def test_the_sample_pdf_is_printed_from_its_source() -> None:
    samples = resources.files("matinee.samples")
    printed = "".join(load("guide.pdf", samples.joinpath("guide.pdf").read_bytes()).text.split())
    tokens = MarkdownIt().parse(samples.joinpath("guide.md").read_text(encoding="utf-8"))
    for token in tokens:
        if token.type == "inline":
            text = "".join(child.content for child in token.children or [])
            assert "".join(text.split()) in printed, (
                f"Not in guide.pdf; run python tests/print_guide.py: {text}"
            )
