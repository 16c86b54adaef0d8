"""Measure the pipeline on this machine and print one table: python -m bench [--retrieval FOLDER].

Every time is measured in this run, on a rehearsal of its own; what is compared is measured side by side.
"""

import argparse
import os
import platform
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from bench.bare import BarePush
from tests.checkout import Checkout, make_checkout
from tests.local_aws import ROOT, Rehearsal, free_port, standing

NAME = "matinee-bench"

type Row = tuple[str, str, str]


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    start = time.monotonic()
    action()
    return time.monotonic() - start


def machine() -> str:
    """Name the machine the figures are from."""
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = models[0] if models else platform.machine()
    return f"{os.cpu_count()} × {model}, {memory:.0f} GiB, {platform.release()}"


def pushes(rehearsal: Rehearsal, checkout: Checkout) -> list[Row]:
    """Push cold, after a one-line change and with nothing new, each beside a bare docker push."""
    bare = BarePush(rehearsal)
    rows: list[Row] = []
    first = 0.0

    def push(name: str) -> None:
        nonlocal first
        start = time.monotonic()
        out = checkout.passes("push.yml", "-v").output
        building, pushing = (re.search(rf"{part}: ([\d.]+)", out) for part in ("build", "push"))
        whole = time.monotonic() - start - float(building[1] if building else 0)
        alone = float(pushing[1]) if pushing else 0.0
        sent = re.search(r"bytes_pushed: (\d+)", out)
        megabytes = int(sent[1]) / 1e6 if sent else 0.0
        beside = bare.push(checkout.path, checkout.version)
        first = first or beside
        rows.append((f"push, {name}: bare docker push", f"{beside:.2f} s", ""))
        rows.append(
            (f"push, {name}: ours", f"{alone:.2f} s", f"{alone / beside:.2f} ×, {megabytes:.2f} MB sent")
        )
        rows.append(
            (
                f"push, {name}: push.yml less the build",
                f"{whole:.2f} s",
                f"{whole / beside:.2f} ×, {whole / first:.2f} × the cold bare push",
            )
        )

    push("cold")
    module = checkout.path / "app/src/matinee/__init__.py"
    module.write_text(module.read_text() + "\n# One more line\n")
    checkout.commit("One more line")
    push("one line of code changed")
    push("nothing new")
    return rows


def start_to_answer(checkout: Checkout) -> Row:
    """Measure from asking AWS to start the stopped host to the first answer of the app."""
    output = checkout.passes("demo-stop.yml").output + checkout.passes("status.yml").output
    address = (re.search(r"url: (http://[\d.]+/)", output) or ["", ""])[1]

    start = time.monotonic()
    play = subprocess.Popen(
        ["ansible-playbook", "demo-start.yml"],
        cwd=checkout.path,
        env=checkout.environment,
        stdout=subprocess.DEVNULL,
    )
    while not answers(f"{address}health"):
        if play.poll() is not None:
            raise SystemExit("demo-start.yml ended and the app does not answer")
        time.sleep(0.1)
    seconds = time.monotonic() - start
    play.wait()
    return ("demo-start.yml to the first HTTP 200", f"{seconds:.1f} s", "host stopped before")


def answers(url: str) -> bool:
    """Whether a URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def pipeline() -> list[Row]:
    """Measure everything from the first site.yml to the first answer."""
    rows: list[Row] = []
    with standing(NAME, free_port()) as rehearsal, tempfile.TemporaryDirectory() as folder:
        checkout = make_checkout(Path(folder), rehearsal.env)
        rows.append(("site.yml, empty account", f"{timed(lambda: checkout.passes('site.yml')):.1f} s", ""))
        rows.append(
            ("site.yml, again", f"{timed(lambda: checkout.passes('site.yml')):.1f} s", "changes nothing")
        )
        rows += pushes(rehearsal, checkout)
        checkout.passes("demo-start.yml")
        rows.append(start_to_answer(checkout))
        size = subprocess.run(
            ["docker", "image", "inspect", "-f", "{{.Size}}", f"127.0.0.1:{rehearsal.port}/bare:latest"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        rows.append(("image of the app", f"{int(size) / 1e6:.0f} MB", "uncompressed"))
    return rows


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--retrieval", type=Path, help="folder of BEIR's SciFact: measure how well passages are found"
    )
    folder = parser.parse_args().retrieval
    rows = pipeline()
    print(f"\n{machine()}\n")
    width = max(len(row[0]) for row in rows)
    for name, value, remark in rows:
        print(f"{name:<{width}}  {value:>10}  {remark}")
    if folder:
        print()
        subprocess.run([ROOT / "app/.venv/bin/python", "bench/retrieval.py", folder], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
