"""Run a judged set against a library: search for each question, and have it answered and judged."""

import hashlib
import queue
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

from matinee.engine import Progress
from matinee.evaluation.answers import Answered, Asker, Bill, refusal_measure
from matinee.evaluation.judge import Judge
from matinee.evaluation.measures import DEPTH, figures, rank_measures
from matinee.evaluation.sets import JudgedSet, Question, SetError, read_sample
from matinee.retrieval import Found
from matinee.stores.evaluations import Place, Result, Run
from matinee.stores.truth import DEFAULT_COLLECTION, Passage, StoredDocument
from matinee.workspace import Workspace

WORKERS = 4  # questions that are answered and judged at once
EXCERPT = 160  # characters of a passage kept with the result
UNKNOWN = 5  # unknown documents named at most


@dataclass(frozen=True)
class Quote:
    """Where a quote stands."""

    document_id: int
    start: int
    end: int

    def is_in(self, passage: Passage) -> bool:
        """Whether a passage holds at least half of it: a quote may stand across the edge of two."""
        inside = min(self.end, passage.end) - max(self.start, passage.start)
        return passage.document_id == self.document_id and 2 * inside >= self.end - self.start


class Evaluation:
    """One run of a set; may be stopped at any point, and tells what it has by then.

    Args:
        workspace: holds the documents, and answers.
        judged: the questions.
        documents: where to look for the answers; by default in all documents.

    Raises:
        SetError: if a document or a quote is not in the library.
    """

    def __init__(
        self, workspace: Workspace, judged: JudgedSet, documents: Sequence[int] | None = None
    ) -> None:
        self.judged, self.bill = judged, Bill()
        self._workspace = workspace
        everything = workspace.documents()
        self._stored = [
            document
            for document in everything
            if (documents is None or document.id in documents)
            and document.sha256
            != judged.sha256  # the set itself may lie among the documents, and finds itself
        ]
        all_of_it = len(self._stored) == len(everything)
        self._documents = None if all_of_it else [document.id for document in self._stored]
        self._quotes = _locate(workspace, judged, self._stored)
        self._found: dict[str, Found] = {}
        self._answered: dict[str, Answered] = {}
        self._asked = False
        self._judge: Judge | None = None
        self._at = datetime.now(UTC)

    def measure(self, progress: Progress) -> None:
        """Search for each question, and have it answered where that costs nothing."""
        self.retrieve(progress)
        if self._workspace.engine.chain is None and self.judged.corpus is None:
            self.answer(None, progress)

    def retrieve(self, progress: Progress) -> None:
        """Search for each question."""
        scope, total = self._workspace.scope(documents=self._documents), len(self.judged.questions)
        for number, question in enumerate(self.judged.questions, 1):
            self._found[question.id] = self._workspace.engine.retriever.search(question.text, scope, DEPTH)
            progress(f"Searching: {number} of {total}", number / total)

    def answer(self, judge: Judge | None, progress: Progress) -> None:
        """Have each question answered as a person's is, and the answers judged if there is a judge."""
        self._asked, self._judge = True, judge
        asker = Asker(self._workspace, self._documents, self.bill, judge)
        waiting: queue.SimpleQueue[Question] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[Question, Answered | Exception]] = queue.SimpleQueue()
        stopped = threading.Event()
        for question in self.judged.questions:
            waiting.put(question)

        def work() -> None:
            while not stopped.is_set():
                try:
                    question = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    done.put((question, asker.ask(question)))
                except Exception as error:
                    done.put((question, error))

        for _ in range(WORKERS):  # daemons: who interrupts need not wait for a slow model
            threading.Thread(target=work, name="asker", daemon=True).start()
        total = len(self.judged.questions)
        try:
            for number in range(1, total + 1):
                question, answered = done.get()
                if isinstance(answered, Exception):
                    raise answered
                self._answered[question.id] = answered
                progress(f"{'Judging' if judge else 'Asking'}: {number} of {total}", number / total)
        finally:
            stopped.set()

    def outcome(self) -> tuple[Run, list[Result]]:
        """Return the run as far as it went."""
        questions = [question for question in self.judged.questions if question.id in self._found]
        ranked = self._rank(questions)
        results = [self._result(question, ranked[question.id]) for question in questions]
        complete = len(questions) == len(self.judged.questions)
        if self._asked:
            complete = complete and len(self._answered) == len(questions)
        run = Run(
            at=self._at,
            version=self._workspace.engine.settings.version,
            set_name=self.judged.name,
            set_sha256=self.judged.sha256,
            settings=self._settings(),
            figures=figures(results),
            complete=complete,
            spent=self.bill.spent if self.bill.spent.calls else None,
        )
        return run, results

    def passages(self, question: Question) -> list[str]:
        """Return the text of what was found for a question."""
        return [hit.passage.text for hit in self._found[question.id].hits]

    def _rank(self, questions: Sequence[Question]) -> dict[str, dict[str, float]]:
        """Return the measures of the rankings: of documents, where there are several, and of quotes."""
        answerable = [question for question in questions if not question.unanswerable]
        values: dict[str, dict[str, float]] = {question.id: {} for question in questions}
        if len(self._stored) > 1:
            documents = {question.id: self._ranked_documents(question) for question in answerable}
            relevant: dict[str, Mapping[str, int]] = {
                question.id: question.relevant for question in answerable
            }
            for key, measured in rank_measures("document", documents, relevant).items():
                values[key].update(measured)
        quoted = {key: self._ranked_quote(key) for key in self._quotes if key in self._found}
        for key, measured in rank_measures("passage", quoted, {key: {"quote": 1} for key in quoted}).items():
            values[key].update(measured)
        return values

    def _ranked_documents(self, question: Question) -> list[str]:
        """Return documents as their best passages stand, those behind the hits as they were considered."""
        found = self._found[question.id]
        names = [hit.passage.document_name for hit in found.hits]
        names += [candidate.document_name for candidate in found.trace.candidates]
        return list(dict.fromkeys(names))[:DEPTH]

    def _ranked_quote(self, key: str) -> list[str]:
        """Return the hits, of which the first that holds the quote is named so."""
        held = [self._quotes[key].is_in(hit.passage) for hit in self._found[key].hits]
        first = held.index(True) if True in held else None
        return ["quote" if rank == first else f"hit {rank}" for rank in range(len(held))]

    def _result(self, question: Question, values: Mapping[str, float]) -> Result:
        answered = self._answered.get(question.id, Answered())
        if self._asked and question.id not in self._answered:
            answered.miss((refusal_measure(question),), "The run was stopped before.")
        quote = self._quotes.get(question.id)
        found = tuple(
            Place(
                hit.passage.document_name,
                hit.passage.page,
                " ".join(hit.passage.text.split())[:EXCERPT],
                quote.is_in(hit.passage) if quote else hit.passage.document_name in question.relevant,
            )
            for hit in self._found[question.id].hits
        )
        return Result(
            question.id,
            question.text,
            ", ".join(question.relevant),
            found,
            {**values, **answered.values},
            answered.text,
            answered.claims,
            answered.notes,
        )

    def _settings(self) -> dict[str, str]:
        """Return what changes the figures."""
        engine = self._workspace.engine
        contents = hashlib.sha256("".join(sorted(document.sha256 for document in self._stored)).encode())
        passages = sum(document.passages for document in self._stored)
        settings = {
            "documents": f"{len(self._stored):,} with {passages:,} passages, {contents.hexdigest()[:8]}",
            "embedding": engine.embedder.name,
        }
        reranker = engine.retriever.reranker
        if reranker:  # where it fails, a search goes on without it
            failed = sum(
                all(candidate.reranked is None for candidate in found.trace.candidates)
                for found in self._found.values()
            )
            settings["reranker"] = reranker.name + (f", failed for {failed} questions" if failed else "")
        if self._asked:
            settings["answers"] = ", ".join(engine.chain.labels) if engine.chain else "quotes"
        if self._judge:
            settings["judge"] = self._judge.name
        return settings


def sample_evaluation(workspace: Workspace, progress: Progress) -> Evaluation:
    """Return the evaluation of the sample's questions, on the sample alone, which is added if need be."""
    added = workspace.add_sample(progress)
    documents = workspace.documents(DEFAULT_COLLECTION)
    ids = [document.id for document in documents if document.name == added.name]
    return Evaluation(workspace, read_sample(added.name), ids)


def _locate(workspace: Workspace, judged: JudgedSet, stored: Sequence[StoredDocument]) -> dict[str, Quote]:
    """Find the documents and quotes of a set; returns the quotes by question."""
    named: dict[str, list[StoredDocument]] = {}
    for document in stored:
        named.setdefault(document.name, []).append(document)
    unknown = {
        name: question.line
        for question in reversed(judged.questions)
        for name in question.relevant
        if name not in named
    }
    if unknown and judged.corpus is None:
        raise SetError(_unknown_message(judged.name, dict(reversed(unknown.items())), list(named)))
    texts: dict[int, str] = {}
    quotes = {}
    for question in judged.questions:
        if not question.quote:
            continue
        pattern = re.compile(r"\s+".join(map(re.escape, question.quote.split())), re.IGNORECASE)
        candidates = [document.id for name in question.relevant for document in named[name]]
        for key in candidates:
            text = texts.setdefault(key, workspace.text(key, 0, sys.maxsize))
            if match := pattern.search(text):
                quotes[question.id] = Quote(key, match.start(), match.end())
                break
        else:
            raise SetError(
                f"{judged.name}, line {question.line}: the quote is not in {', '.join(question.relevant)}. "
                "Copy it from there word for word."
            )
    return quotes


def _unknown_message(set_name: str, unknown: Mapping[str, int], known: Sequence[str]) -> str:
    lines = []
    for name, line in list(unknown.items())[:UNKNOWN]:
        close = get_close_matches(name, known, 1)
        hint = f" Is it {close[0]}?" if close else ""
        lines.append(f"{set_name}, line {line}: there is no document {name} in the library.{hint}")
    if len(unknown) > UNKNOWN:
        lines.append(f"and {len(unknown) - UNKNOWN} more.")
    lines.append("Add them, or name the folder they are in with --documents.")
    return "\n".join(lines)
