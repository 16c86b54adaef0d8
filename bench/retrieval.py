"""Measure how well the app finds passages, on BEIR's SciFact with what it ships with, nothing tuned to it.

Run it from the project's root, with the app's environment and the set's folder (corpus.jsonl, queries.jsonl,
qrels/test.tsv):

    app/.venv/bin/python bench/retrieval.py FOLDER
"""

import argparse
import csv
import json
import math
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from matinee.documents import Document, Span
from matinee.embedding import Embedder
from matinee.retrieval import CANDIDATES, fuse
from matinee.settings import load_settings
from matinee.stores.local import LocalStore

DEPTH = 10
RRF_K = 60  # the constant of the paper which proposed reciprocal rank fusion

type Ranking = dict[str, float]


def reciprocal_rank_fusion(dense: dict[int, float], keyword: dict[int, float]) -> dict[int, float]:
    """Fuse two rankings by rank alone: the alternative to what the app does, for comparison."""
    fused: dict[int, float] = defaultdict(float)
    for scores in (dense, keyword):
        for rank, key in enumerate(scores, 1):
            fused[key] += 1 / (RRF_K + rank)
    return dict(sorted(fused.items(), key=lambda item: -item[1]))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object per line."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_judgements(path: Path) -> dict[str, dict[str, int]]:
    """Read which document answers which query, and how well."""
    judgements: dict[str, dict[str, int]] = defaultdict(dict)
    with path.open(encoding="utf-8") as rows:
        for row in csv.DictReader(rows, delimiter="\t"):
            judgements[row["query-id"]][row["corpus-id"]] = int(row["score"])
    return judgements


def ndcg(ranking: list[str], relevant: dict[str, int]) -> float:
    """Return nDCG@10 of one ranking."""
    gain = sum(relevant.get(key, 0) / math.log2(rank + 1) for rank, key in enumerate(ranking[:DEPTH], 1))
    ideal = sum(
        score / math.log2(rank + 1) for rank, score in enumerate(sorted(relevant.values())[::-1][:DEPTH], 1)
    )
    return gain / ideal


def recall(ranking: list[str], relevant: dict[str, int]) -> float:
    """Return the share of the relevant documents among the first ten."""
    return len(set(ranking[:DEPTH]) & set(relevant)) / len(relevant)


def fill(store: LocalStore, embedder: Embedder, corpus: list[dict[str, Any]]) -> None:
    """Store each abstract whole, as one passage of a document named by its id."""
    texts = [f"{entry['title']}\n{entry['text']}" for entry in corpus]
    started = time.perf_counter()
    vectors = embedder.embed(texts)
    seconds = time.perf_counter() - started
    print(f"embedded {len(texts)} abstracts in {seconds:.0f} s, {len(texts) / seconds:.0f} a second")
    for entry, text, vector in zip(corpus, texts, vectors, strict=True):
        span = Span(0, len(text), None, None)
        store.truth.add(entry["_id"], Document(entry["_id"], text), len(text), [span], vector[None])


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    judgements = read_judgements(folder / "qrels" / "test.tsv")
    queries = {entry["_id"]: entry["text"] for entry in read_lines(folder / "queries.jsonl")}
    embedder = Embedder(load_settings().model)

    with tempfile.TemporaryDirectory() as data:
        store = LocalStore(Path(data), embedder)
        fill(store, embedder, read_lines(folder / "corpus.jsonl"))
        store.close()
        store = LocalStore(Path(data), embedder)
        if not store.wait_for_index():
            print("The vector index could not be built; see the log above.", file=sys.stderr)
            return 1
        names = {
            key: passage.document_name
            for key, passage in store.truth.passages(list(store.truth.passage_ids())).items()
        }
        methods: dict[str, Callable[[dict[int, float], dict[int, float]], dict[int, float]]] = {
            "keyword (SQLite FTS5)": lambda _dense, keyword: keyword,
            "dense (all-MiniLM-L6-v2, int8)": lambda dense, _keyword: dense,
            "both, reciprocal rank fusion": reciprocal_rank_fusion,
            "both, min-max (the app)": fuse,
        }
        scores: dict[str, list[tuple[float, float]]] = {method: [] for method in methods}
        seconds = []
        for query, relevant in judgements.items():
            started = time.perf_counter()
            dense = store.nearest(embedder.embed([queries[query]])[0], CANDIDATES)
            keyword = store.matching(queries[query], CANDIDATES)
            seconds.append(time.perf_counter() - started)
            for method, rank in methods.items():
                ranking = [names[key] for key in islice(rank(dense, keyword), DEPTH)]
                scores[method].append((ndcg(ranking, relevant), recall(ranking, relevant)))
        store.close()

    print(f"\n{'method':32} {'nDCG@10':>8} {'recall@10':>10}")
    for method, values in scores.items():
        columns = [sum(column) / len(values) for column in zip(*values, strict=True)]
        print(f"{method:32} {columns[0]:8.4f} {columns[1]:10.4f}")
    seconds.sort()
    p50, p95 = (1000 * seconds[int(len(seconds) * share)] for share in (0.5, 0.95))
    print(f"\n{len(seconds)} queries: p50 {p50:.0f} ms, p95 {p95:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
