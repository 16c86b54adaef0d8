"""Measure the app beside its plain parts.

Run it from the project's root, with the app's environment; `make bench` does:

    app/.venv/bin/python -m bench.app [THEME…] [--scifact FOLDER] [--papers FOLDER]

Everything is measured in this run. The passages of the large libraries are put together from sentences of
SciFact's abstracts, or else of the sample, each with a number of its own; their vectors are those of real
passages with noise, since to embed 100,000 takes most of an hour.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime
from matinee.documents import Document, Span
from matinee.embedding import BATCH, LocalEmbedder
from matinee.engine import SAMPLE, SAMPLE_NAME, Engine
from matinee.retrieval import Retriever
from matinee.settings import Settings
from matinee.stores.local import LocalStore
from matinee.stores.truth import DEFAULT_COLLECTION

from bench.retrieval import EVERYTHING, opened, wait_for_index

ROOT = Path(__file__).parents[1]

type Row = tuple[str, str, str]  # what was measured, its figure, what to know about it

EMBEDDED = 640  # passages
LIBRARIES = (10_000, 100_000)  # passages
PASSAGES_PER_DOCUMENT = 100
SENTENCES_PER_PASSAGE = 5
NOISE = 0.04  # added to each number of a vector, of which a real one has 0.05 in the mean
QUESTIONS = 200
PAGES = 300
STARTS = 5
SESSIONS = 50
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SAMPLE_QUESTIONS = ROOT / "app/src/matinee/samples/guide.questions.jsonl"
SAMPLE_FILE = ROOT / "app/src/matinee/samples" / SAMPLE


@dataclass(frozen=True)
class Data:
    """Where sets are, if they are given."""

    scifact: Path | None
    papers: Path | None

    def texts(self) -> list[str]:
        """Return real texts."""
        if self.scifact:
            lines = (self.scifact / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
            return [json.loads(line)["text"] for line in lines]
        return SAMPLE_FILE.with_suffix(".md").read_text(encoding="utf-8").split("\n\n")

    def questions(self) -> list[str]:
        """Return questions about the texts."""
        file, key = (
            (self.scifact / "queries.jsonl", "text") if self.scifact else (SAMPLE_QUESTIONS, "question")
        )
        lines = file.read_text(encoding="utf-8").splitlines()
        return list(itertools.islice(itertools.cycle(json.loads(line)[key] for line in lines), QUESTIONS))

    @property
    def source(self) -> str:
        """Where the texts are from."""
        return "SciFact" if self.scifact else "the sample"


def embedding(data: Data) -> list[Row]:
    """Embed the same passages by the app and by bare onnxruntime, by turns."""
    texts = passages(data, EMBEDDED)
    embedder = LocalEmbedder(Settings().model)
    batches = tokenized(embedder, texts)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        Settings().model / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    bare, ours = [], []
    for _ in range(3):
        bare.append(timed(lambda: [session.run(["last_hidden_state"], batch) for batch in batches]))
        ours.append(timed(lambda: embedder.embed(texts)))
    plain, own = len(texts) / min(bare), len(texts) / min(ours)
    return [
        (
            "embedding: bare onnxruntime",
            f"{plain:.0f} /s",
            f"{len(texts)} passages, tokens and batches given",
        ),
        (
            "embedding: the app",
            f"{own:.0f} /s",
            f"{own / plain:.2f} ×; with tokens and pooling; best of 3 each",
        ),
    ]


def tokenized(embedder: LocalEmbedder, texts: list[str]) -> list[dict[str, np.ndarray]]:
    """Return the model's inputs in the batches that the app makes."""
    tokenizer = embedder.token_counter
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    batches = []
    for part in itertools.batched(sorted(texts, key=len), BATCH):
        encoded = tokenizer.encode_batch(list(part))
        mask = np.array([item.attention_mask for item in encoded], np.int64)
        ids = np.array([item.ids for item in encoded], np.int64)
        batches.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)})
    return batches


def queries(data: Data) -> list[Row]:
    """Search libraries of two sizes, without a language model."""
    embedder = LocalEmbedder(Settings().model)
    questions = data.questions()
    vectors = embedder.embed(passages(data, 1000))
    rows: list[Row] = []
    for count in LIBRARIES:
        with opened(embedder) as store:
            fill(store, passages(data, count), vectors)
            wait_for_index(store)
            retriever = Retriever(store, embedder)
            for question in questions[:20]:  # as in an app that has been asked before
                search(retriever, question)
            seconds = sorted(map(partial(search, retriever), questions))
            shares = [recall(store, vector) for vector in embedder.embed(questions[:50])]
        p50, p95 = (f"{1000 * seconds[int(len(seconds) * share)]:.0f} ms" for share in (0.5, 0.95))
        remark = f"p50 {p50}; {len(questions)} questions; sentences of {data.source}"
        rows.append((f"question to hits at {count:,} passages, p95", p95, remark))
        found = f"{np.mean(shares):.1%}"
        rows.append(
            (f"nearest 10 of the index at {count:,} passages", found, "of the nearest 10 by comparing all")
        )
    return rows


def search(retriever: Retriever, question: str) -> float:
    """Return the seconds that a search takes."""
    return timed(lambda: retriever.search(question, EVERYTHING))


def passages(data: Data, count: int) -> list[str]:
    """Put passages together from real sentences."""
    sentences = [
        sentence
        for text in data.texts()
        for sentence in re.split(r"(?<=[.!?])\s+", text)
        if len(sentence) in range(20, 400)
    ]
    chance = random.Random(1)  # noqa: S311
    return [
        f"{' '.join(chance.choices(sentences, k=SENTENCES_PER_PASSAGE))} (No. {number})"
        for number in range(count)
    ]


def fill(store: LocalStore, texts: list[str], vectors: np.ndarray) -> None:
    """Store passages with vectors like the given ones."""
    chance = np.random.default_rng(1)
    for part in itertools.batched(texts, PASSAGES_PER_DOCUMENT):
        ends = list(itertools.accumulate(len(text) + 1 for text in part))
        spans = [Span(end - 1 - len(text), end - 1, None, None) for text, end in zip(part, ends, strict=True)]
        near = vectors[chance.integers(0, len(vectors), len(part))]
        near = near + chance.normal(size=near.shape) * NOISE
        near = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
        text = "\n".join(part)
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        store.add(DEFAULT_COLLECTION, Document(sha256, text), sha256, b"", spans, near)


def recall(store: LocalStore, vector: np.ndarray) -> float:
    """Return how many of the ten nearest passages the index finds."""
    ids, vectors = store.truth.vectors()
    nearest = {ids[row] for row in np.argsort(-(vectors @ vector))[:10]}
    return len(nearest & set(list(store.nearest(vector, 50, EVERYTHING))[:10])) / 10


def pages(data: Data) -> list[Row]:
    """Take PDFs in until 300 pages can be asked."""
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Settings.model_validate({"MATINEE_DATA": folder, "MATINEE_DOCUMENTS": ""}))
        try:
            files = sorted(data.papers.glob("*.pdf")) if data.papers else [SAMPLE_FILE]
            done, started = 0, time.perf_counter()
            for number, path in enumerate(itertools.cycle(files)):
                engine.add(f"{number}-{path.name}", path.read_bytes() + b"\n%" + str(number).encode())
                [newest, *_] = engine.truth.documents("")
                done += newest.pages or 0
                if done >= PAGES:
                    break
            hits = engine.retriever.search("What is this about?", EVERYTHING).hits
            seconds = time.perf_counter() - started
            count = engine.truth.count()[1]
        finally:
            engine.close()
    source = "papers, again and again as other files" if data.papers else "the sample, again and again"
    return [
        (
            f"{done} PDF pages from upload to answerable",
            f"{seconds:.0f} s",
            f"{1000 * seconds / done:.0f} ms a page; {count} passages; {source}; {len(hits)} hits",
        )
    ]


def start(data: Data) -> list[Row]:
    """Start the app on a folder with the sample, and ask it in Chromium."""
    from playwright.sync_api import sync_playwright

    health: list[float] = []
    answer: list[float] = []
    with sample_folder() as folder, sync_playwright() as playwright:
        for _ in range(STARTS):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(bypass_csp=True)  # which forbids wait_for_function
            begun = time.monotonic()
            with running(folder) as (url, _process):
                health.append(time.monotonic() - begun)
                page.goto(url)
                # Looked for at each frame: Playwright's own waiting looks twice a second
                page.wait_for_function("document.querySelector('[data-testid=stChatInputTextArea]:enabled')")
                page.get_by_test_id("stChatInputTextArea").fill("Which operating system runs on the host?")
                page.keyboard.press("Enter")
                page.wait_for_function("document.querySelector('[aria-label=\"Feedback rating\"]')")
                answer.append(time.monotonic() - begun)
            browser.close()
    return [
        (
            "cold start to /health",
            f"{median(health):.1f} s",
            f"median of {STARTS}; files cached",
        ),
        (
            "cold start to the first answer in Chromium",
            f"{median(answer):.1f} s",
            "page loaded, question typed, sentences quoted; the browser ran before",
        ),
    ]


def memory(data: Data) -> list[Row]:
    """Look at the memory of the server at rest, and with people on it."""
    with sample_folder() as folder, running(folder) as (url, process):
        asyncio.run(sessions(url, 1, lambda: None))
        time.sleep(15)  # index checked, Chroma opened
        rest = resident(process.pid)
        people: list[tuple[float, float]] = []
        asyncio.run(sessions(url, SESSIONS, lambda: people.append(resident(process.pid))))
    [(rss, pss)] = people
    return [
        (
            "memory at rest",
            f"{rest[0]:.0f} MB",
            f"resident; PSS {rest[1]:.0f} MB; a document, index open, page seen",
        ),
        (
            f"memory with {SESSIONS} open sessions",
            f"{rss:.0f} MB",
            f"resident; PSS {pss:.0f} MB; websockets with the page drawn, {rss - rest[0]:+.0f} MB",
        ),
    ]


async def sessions(url: str, count: int, meanwhile: Callable[[], None]) -> None:
    """Open websockets as browsers do, have each draw the page, then do something while they are open."""
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from websockets.asyncio.client import ClientConnection, connect
    from websockets.typing import Origin, Subprotocol

    async def draw(socket: ClientConnection) -> None:
        message = BackMsg()
        message.rerun_script.query_string = ""
        await socket.send(message.SerializeToString())
        while True:
            forward = ForwardMsg()
            forward.ParseFromString(await socket.recv())
            if forward.WhichOneof("type") == "script_finished":
                return

    open_sockets = []
    address = url.replace("http://", "ws://") + "/_stcore/stream"
    for _ in range(count):
        headers = {"Cookie": cookie(url)}
        socket = await connect(
            address,
            subprotocols=[Subprotocol("streamlit")],
            origin=Origin(url),
            additional_headers=headers,
            max_size=None,
        )
        open_sockets.append(socket)
        await asyncio.wait_for(draw(socket), 60)
    await asyncio.sleep(2)
    meanwhile()
    for socket in open_sockets:
        await socket.close()


def cookie(url: str) -> str:
    """Return the cookie that the page gives a new browser."""
    with urllib.request.urlopen(url) as response:
        return "; ".join(value.partition(";")[0] for value in response.headers.get_all("Set-Cookie") or [])


def size(data: Data) -> list[Row]:
    """Look at what the app takes on disk, and what the large parts are for."""
    environment = Path(sys.prefix)
    site = next(environment.glob("lib/python*/site-packages"))
    wanted = set(re.findall(r"^([\w.-]+)==", (ROOT / "app/requirements.txt").read_text(), re.MULTILINE))
    sizes = {name: package_size(name) for name in wanted}
    total = sum(sizes.values())
    model = sum(path.stat().st_size for path in Settings().model.rglob("*") if path.is_file()) / 1e6
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:12]
    named = ", ".join(f"{name} {megabytes:.0f}" for name, megabytes in largest)
    return [
        ("Python packages of the app", f"{total:.0f} MB", f"in {site.name}: {named}"),
        ("embedding model", f"{model:.0f} MB", "all-MiniLM-L6-v2 in int8, and its tokenizer"),
        *docker_images(),
    ]


def package_size(name: str) -> float:
    """Return the megabytes of an installed package's files."""
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:  # left out, or for another platform
        return 0.0
    sizes = []
    for file in files:
        with suppress(OSError):
            sizes.append(Path(str(file.locate())).stat().st_size)
    return sum(sizes) / 1e6


def docker_images() -> list[Row]:
    """Return the size of the app's image, if one was built here."""
    command = ["docker", "images", "matinee", "--format", "{{.Tag}}\t{{.Size}}"]
    with suppress(OSError, subprocess.CalledProcessError):
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return [
            (f"image matinee:{tag}", amount, "")
            for tag, _, amount in (line.partition("\t") for line in lines)
        ]
    return []


@contextmanager
def sample_folder() -> Iterator[Path]:
    """A data folder with the sample in it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate({"MATINEE_DATA": folder, "MATINEE_DOCUMENTS": ""})
        engine = Engine(settings)
        try:
            engine.add(SAMPLE_NAME, SAMPLE_FILE.read_bytes())
            wait_for_index(engine.store)
        finally:
            engine.close()
        yield Path(folder)


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The app as a process, from when /health answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environment |= {"MATINEE_DATA": str(folder), "PORT": str(port), "MATINEE_DOCUMENTS": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "matinee"], env=environment, cwd=folder, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{url}/health") as response:
                response.read()
                break
            if process.poll() is not None:
                raise SystemExit("the app did not start")
            time.sleep(0.02)
        yield url, process
    finally:
        process.terminate()
        process.wait()


def resident(process: int) -> tuple[float, float]:
    """Return the megabytes of a process: resident, and its share of what it shares with others."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    rss, pss = (int(re.findall(rf"^{what}:\s+(\d+)", text, re.MULTILINE)[0]) for what in ("Rss", "Pss"))
    return rss * 1024 / 1e6, pss * 1024 / 1e6


def timed(action: Callable[[], object]) -> float:
    """Return the seconds that an action takes."""
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


def median(values: list[float]) -> float:
    """Return the median."""
    return float(np.median(values))


THEMES: dict[str, Callable[[Data], list[Row]]] = {
    "embedding": embedding,
    "queries": queries,
    "pages": pages,
    "start": start,
    "memory": memory,
    "size": size,
}


def main() -> None:
    """Measure, and print the figures as they come."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("themes", nargs="*", metavar="THEME", help=f"of {', '.join(THEMES)}; all by default")
    parser.add_argument("--scifact", type=Path, help="folder of BEIR's SciFact, for realistic text")
    parser.add_argument("--papers", type=Path, help="folder of PDFs")
    options = parser.parse_args()
    if unknown := set(options.themes) - set(THEMES):
        parser.error(f"no such theme: {', '.join(unknown)}")
    for theme in options.themes or THEMES:
        print(
            f"\nbench/app.py {theme}   (load average {os.getloadavg()[0]:.1f} at its beginning)\n", flush=True
        )
        for name, value, remark in THEMES[theme](Data(options.scifact, options.papers)):
            print(f"{name:<50}  {value:>10}  {remark}", flush=True)


if __name__ == "__main__":
    main()
