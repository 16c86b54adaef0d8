"""Measure how well the app finds passages, with what it ships with and one set of constants for everything.

Run it from the project's root, with the app's environment:

    app/.venv/bin/python -m bench.retrieval [--scifact FOLDER] [--papers FOLDER]

SciFact is BEIR's: corpus.jsonl, queries.jsonl, qrels/test.tsv. Each abstract is one passage.

Papers is a folder with PDFs and questions.jsonl, whose lines have a question, its reference answer and the
file that holds it. PDFs are taken in as people upload them. A hit holds the reference answer if it is from
that file and has 60 % of the answer's distinct words, stemmed as for search and without stop words, and each
of its numbers. The figure is the share of questions of which one of the first five hits does; beside it stand
50 % and 70 %. Reference answers are summaries in words of their own, so that of some no passage holds enough.
How many can be found at all stands there, too: those of which any text as long as the longest hit, of the
right file, holds the answer by the same rule.
"""

import argparse
import hashlib
import re
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ir_measures
from ir_measures import RR, R, nDCG
from matinee.documents import Document, Span, load, split
from matinee.embedding import Embedder, open_embedder
from matinee.evaluation.sets import Question, read_corpus, read_set
from matinee.passages import JOINED
from matinee.retrieval import Candidate, Found, Hit, Retriever
from matinee.settings import load_settings
from matinee.stores.index import IndexState
from matinee.stores.local import LocalStore
from matinee.stores.truth import DEFAULT_COLLECTION, Scope

DEPTH = 10
RRF_K = 60  # the constant of the paper which proposed reciprocal rank fusion
EVERYTHING = Scope((DEFAULT_COLLECTION,))
HOLDING = (0.5, 0.6, 0.7)  # shares of the answer's words; the one in the middle is the figure
FIRST = 5  # hits that may hold the answer
STOP_WORDS = frozenset(
    """a an and are as at be been but by can could did do does for from had has have how if in into is it
    its may more most no not of on or other over such than that the their them then there these they this
    those to under was were what when where which while who why will with would""".split()  # noqa: SIM905
)


@contextmanager
def opened(embedder: Embedder) -> Iterator[LocalStore]:
    """An empty store, for as long as it is used."""
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(Path(folder), embedder)
        try:
            yield store
        finally:
            store.close()


def wait_for_index(store: LocalStore) -> None:
    """Wait until the vector index answers, as it does in the app soon after the last change."""
    deadline = time.monotonic() + 600
    while store.index_state is not IndexState.READY:
        if time.monotonic() > deadline:
            raise TimeoutError("The vector index could not be built; see the log above.")
        time.sleep(0.1)


def search(retriever: Retriever, questions: tuple[Question, ...] | list[Question]) -> dict[str, Found]:
    """Search for each question; prints how long it took."""
    found, seconds = {}, []
    for question in questions:
        started = time.perf_counter()
        found[question.id] = retriever.search(question.text, EVERYTHING, DEPTH)
        seconds.append(time.perf_counter() - started)
    seconds.sort()
    p50, p95 = (1000 * seconds[int(len(seconds) * share)] for share in (0.5, 0.95))
    print(f"{len(seconds)} questions: p50 {p50:.0f} ms, p95 {p95:.0f} ms\n")
    return found


def scifact(folder: Path, embedder: Embedder) -> None:
    """Print how high the judged abstracts stand, by the app and by its parts."""
    judged = read_set(folder)
    assert judged.corpus  # noqa: S101 - a folder has one
    names, texts = zip(*read_corpus(judged.corpus), strict=True)
    print(f"SciFact: {len(texts)} abstracts", flush=True)
    started = time.perf_counter()
    vectors = embedder.embed(texts)
    print(f"embedded {len(texts) / (time.perf_counter() - started):.0f} a second", flush=True)
    with opened(embedder) as store:
        for name, text, vector in zip(names, texts, vectors, strict=True):
            sha256 = hashlib.sha256(name.encode()).hexdigest()
            span = Span(0, len(text), None, None)
            store.add(DEFAULT_COLLECTION, Document(name, text), sha256, b"", [span], vector[None])
        wait_for_index(store)
        found = search(Retriever(store, embedder), judged.questions)
    measures = [nDCG @ 10, R @ 10, RR @ 10]
    relevant = {question.id: dict(question.relevant) for question in judged.questions}
    print(f"{'method':32} {'nDCG@10':>8} {'recall@10':>10} {'MRR@10':>8}")
    for method in ("keyword (SQLite FTS5)", f"dense ({embedder.name})", "both, rank fusion", "the app"):
        run = {key: ranked(method, item) for key, item in found.items()}
        values = ir_measures.calc_aggregate(measures, relevant, run)
        print(
            f"{method:32} "
            + " ".join(f"{values[item]:{width}.4f}" for item, width in zip(measures, (8, 10, 8), strict=True))
        )


def ranked(method: str, found: Found) -> dict[str, float]:
    """Return the documents as a method ranks them: the app's hits, or candidates by one of their scores."""
    if method == "the app":
        best = [hit.passage.document_name for hit in found.hits]
    elif method == "both, rank fusion":
        fused: dict[str, float] = defaultdict(float)
        for part in ("keyword", "dense"):
            for rank, name in enumerate(by_score(found.trace.candidates, part), 1):
                fused[name] += 1 / (RRF_K + rank)
        best = sorted(fused, key=lambda name: -fused[name])
    else:
        best = by_score(found.trace.candidates, method.partition(" ")[0])
    return {name: -float(rank) for rank, name in enumerate(best[:DEPTH])}


def by_score(candidates: tuple[Candidate, ...], score: str) -> list[str]:
    """Return the documents of the 50 candidates that are best by a score, best first."""
    scored = [(getattr(item, score), item.document_name) for item in candidates]
    return [name for value, name in sorted(((v, n) for v, n in scored if v is not None), reverse=True)][:50]


def papers(folder: Path, embedder: Embedder) -> None:
    """Print how often the right paper is first, and a passage with the answer among the first five."""
    judged = read_set(folder / "questions.jsonl")
    with opened(embedder) as store:
        for path in sorted(folder.glob("*.pdf")):
            data = path.read_bytes()
            document = load(path.name, data)
            spans = split(document, embedder.token_counter)
            vectors = embedder.embed([document.text[span.start : span.end] for span in spans])
            store.add(DEFAULT_COLLECTION, document, hashlib.sha256(data).hexdigest(), data, spans, vectors)
        wait_for_index(store)
        documents, passages = store.truth.count()
        print(f"papers: {documents} PDFs, {passages} passages")
        questions = [question for question in judged.questions if question.relevant and question.answer]
        found = search(Retriever(store, embedder), questions)
        stretches = {
            name: windows(text) for name, text in store.truth.read("SELECT name, text FROM documents")
        }
    first = [found[item.id].hits[0].passage.document_name in item.relevant for item in questions]
    print(f"{'right file at rank 1':55} {share(first)}")
    for least in HOLDING:
        held = [
            holds([stems(hit.passage.text) for hit in right_hits(found[item.id], item)], item, least)
            for item in questions
        ]
        possible = [
            holds([words for name in item.relevant for words in stretches[name]], item, least)
            for item in questions
        ]
        print(
            f"{f'passage with {least:.0%} of the answer in the first {FIRST}':55} {share(held)}"
            f"; in any text: {share(possible)}"
        )


def right_hits(found: Found, question: Question) -> list[Hit]:
    """Return those of the first hits that are from the right file."""
    return [hit for hit in found.hits[:FIRST] if hit.passage.document_name in question.relevant]


def windows(text: str) -> list[set[str]]:
    """Return the stemmed words of all parts of a text that are as long as the longest hit."""
    return [stems(text[start : start + JOINED]) for start in range(0, len(text), JOINED // 5)]


def share(of: list[bool]) -> str:
    """Describe how many are so."""
    return f"{sum(of) / len(of):4.0%} ({sum(of)} of {len(of)})"


def holds(parts: list[set[str]], question: Question, least: float) -> bool:
    """Tell whether one of the parts holds the reference answer, by the rule that stands at the top."""
    words = re.findall(r"\w+", (question.answer or "").lower())
    wanted = stems(" ".join(word for word in words if word not in STOP_WORDS))
    numbers = {word for word in wanted if word.isdigit()}
    return any(numbers <= part and len(wanted & part) >= least * len(wanted) for part in parts)


def stems(text: str) -> set[str]:
    """Return the distinct words, stemmed by SQLite as they are for search."""
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5 (text, tokenize = 'porter unicode61')")
        connection.execute("CREATE VIRTUAL TABLE words USING fts5vocab (t, row)")
        connection.execute("INSERT INTO t VALUES (?)", (text,))
        return {row[0] for row in connection.execute("SELECT term FROM words")}


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scifact", type=Path)
    parser.add_argument("--papers", type=Path)
    options = parser.parse_args()
    if not options.scifact and not options.papers:
        parser.error("give a folder: --scifact, --papers or both")
    embedder = open_embedder(load_settings())
    if options.papers:
        papers(options.papers, embedder)
        print()
    if options.scifact:
        scifact(options.scifact, embedder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
