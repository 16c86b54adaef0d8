"""Print the sample's Markdown source to the PDF which the app offers. Run it after a change of guide.md."""

import re
import sys
from pathlib import Path

from browser import CHROMIUM, CHROMIUM_FLAGS
from markdown_it import MarkdownIt
from playwright.sync_api import sync_playwright

SAMPLES = Path(__file__).parents[1] / "src" / "matinee" / "samples"
STYLE = """
@page { size: A4; margin: 24mm 25mm; }
body { font: 11.5pt/1.55 "DejaVu Serif", serif; color: #1c1917; }
h1 { font-size: 26pt; margin: 0 0 10mm; color: #9f1239; }
h2 { font-size: 16pt; margin: 11mm 0 3mm; color: #9f1239; break-after: avoid; }
h3 { font-size: 12.5pt; margin: 7mm 0 2mm; break-after: avoid; }
p, li { orphans: 3; widows: 3; }
code { font: .88em "DejaVu Sans Mono", monospace; }
"""


def main() -> int:
    """Write guide.pdf beside guide.md."""
    source = (SAMPLES / "guide.md").read_text(encoding="utf-8")
    title = source.splitlines()[0].removeprefix("# ")
    page_html = f"<!doctype html><title>{title}</title><style>{STYLE}</style>{MarkdownIt().render(source)}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = browser.new_page()
        page.set_content(page_html)
        pdf = page.pdf(prefer_css_page_size=True, tagged=False)
        browser.close()
    # the same source gives the same file, so that Git sees no change where there is none
    pdf = re.sub(rb"\(D:\d{14}[^)]*\)", b"(D:20260101000000+00'00')", pdf)
    (SAMPLES / "guide.pdf").write_bytes(pdf)
    print(f"{SAMPLES / 'guide.pdf'}: {len(pdf) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
