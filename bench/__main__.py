"""Measure on this machine and print the figures as a table: python -m bench [THEME…].

Everything is measured in this run, on a rehearsal of its own; what is compared is measured by turns. With the
name of a theme, only that is measured. The app is measured in its own environment.
"""

import argparse
import os
import platform
import re
import subprocess
from pathlib import Path

from bench import calls, disk, kamal, pipeline, release, start
from bench.stage import Row, empty_stage
from tests.local_aws import ROOT

THEMES = {
    "pipeline": pipeline.measure,
    "start": start.measure,
    "release": release.measure,
    "disk": disk.measure,
    "kamal": kamal.measure,
    "calls": calls.measure,
}
APP = "app"  # measured by its own environment


def machine() -> str:
    """Name the machine the figures are from."""
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = models[0] if models else platform.machine()
    return f"{os.cpu_count()} × {model}, {memory:.0f} GiB, {platform.release()}"


def measure(themes: list[str]) -> dict[str, list[Row]]:
    """Measure themes, each with the load that the machine had when it began."""
    tables = {}
    with empty_stage() as stage:
        if "pipeline" not in themes:
            stage.checkout.passes("site.yml")
        for theme in themes:
            title = f"python -m bench {theme}   (load average {os.getloadavg()[0]:.1f} at its beginning)"
            tables[title] = THEMES[theme](stage)
    return tables


def main() -> None:
    """Measure, then print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "themes", nargs="*", metavar="THEME", help=f"of {', '.join((*THEMES, APP))}; all by default"
    )
    parser.add_argument("--scifact", help="folder of BEIR's SciFact: measure how well passages are found")
    parser.add_argument("--papers", help="folder of PDFs with questions.jsonl: measure that on them, too")
    options = parser.parse_args()
    if unknown := set(options.themes) - {*THEMES, APP}:
        parser.error(f"no such theme: {', '.join(unknown)}")
    themes = options.themes or [*THEMES, APP]
    tables = measure([theme for theme in themes if theme != APP]) if themes != [APP] else {}
    print(f"\n{machine()}")
    width = max((len(name) for rows in tables.values() for name, _, _ in rows), default=0)
    for title, rows in tables.items():
        print(f"\n{title}\n")
        for name, value, remark in rows:
            print(f"{name:<{width}}  {value:>10}  {remark}")
    if APP in themes:
        folders = [f"--{name}={value}" for name in ("scifact", "papers") if (value := getattr(options, name))]
        for module in ("bench.app", *(["bench.retrieval"] if folders else [])):
            print(flush=True)
            command = [str(ROOT / "app/.venv/bin/python"), "-m", module, *folders]
            subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
