"""Have one question answered as a person's is, and the answer judged."""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from matinee.answer import UNSUPPORTED_MARK, Answer, Kind
from matinee.citations import is_claim
from matinee.evaluation.judge import Judge, NotJudgedError
from matinee.evaluation.measures import (
    ANSWERED,
    CORRECTNESS,
    FAITHFULNESS,
    PRECISION,
    REFUSED,
    RELEVANCY,
    average_precision,
)
from matinee.evaluation.sets import Question
from matinee.llm import Writer
from matinee.sentences import pieces
from matinee.stores.evaluations import Claim, Spent
from matinee.workspace import Workspace

_MARKS = re.compile(rf"\s*(?:\[\d+\]|{UNSUPPORTED_MARK})")


@dataclass
class Answered:
    """What is known of an answer; see Result."""

    text: str | None = None
    claims: tuple[Claim, ...] = ()
    values: dict[str, float | None] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def miss(self, measures: Sequence[str], reason: str) -> None:
        """Note measures that apply but could not be judged."""
        self.values.update(dict.fromkeys(measures))
        self.notes.update(dict.fromkeys(measures, f"not judged: {reason}"))


class Bill:
    """Adds up what language models took. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.spent = Spent()

    def add(self, writer: Writer) -> None:
        """Add one call."""
        with self._lock:
            spent, price = self.spent, None
            if spent.price_usd is not None and writer.price_usd is not None:
                price = spent.price_usd + writer.price_usd
            self.spent = Spent(
                spent.calls + 1,
                spent.input_tokens + (writer.input_tokens or 0),
                spent.output_tokens + (writer.output_tokens or 0),
                price,
            )


class Asker:
    """Asks questions, and a judge about the answers.

    Args:
        workspace: answers.
        documents: where it looks; None: in all.
        bill: takes down what the answers took.
        judge: judges them, if they are to be judged.
    """

    def __init__(
        self, workspace: Workspace, documents: Sequence[int] | None, bill: Bill, judge: Judge | None
    ) -> None:
        self._workspace, self._documents, self._bill, self._judge = workspace, documents, bill, judge

    def ask(self, question: Question) -> Answered:
        """Return what is known of the answer."""
        record, kept = Answered(), refusal_measure(question)
        answer = self._answer(question)
        if answer.writer:
            self._bill.add(answer.writer)
        if answer.notice and answer.writer is None:  # what is shown instead says nothing of the model
            record.miss((kept,), answer.notice)
            return record
        if answer.notice:
            record.notes["notice"] = answer.notice
        refused = answer.kind is Kind.UNSUPPORTED
        record.values[kept] = float(refused == question.unanswerable)
        record.text = None if refused else answer.text
        if self._judge:
            if not refused:
                _judge_claims(self._judge, answer, record)
            if not question.unanswerable:
                _judge_answer(self._judge, question, record)
                self._judge_passages(self._judge, question, record)
        return record

    def _answer(self, question: Question) -> Answer:
        *_, answer = self._workspace.ask(question.text, documents=self._documents)
        if not isinstance(answer, Answer):
            raise TypeError("an answer never ended")
        return answer

    def _judge_passages(self, judge: Judge, question: Question, record: Answered) -> None:
        """Judge the passages the answer was made from: the same search finds the same."""
        scope = self._workspace.scope(documents=self._documents)
        hits = self._workspace.engine.retriever.search(question.text, scope).hits
        try:
            useful = judge.useful(question.text, question.answer, [hit.passage.text for hit in hits])
        except NotJudgedError as error:
            record.miss((PRECISION,), str(error))
            return
        record.values[PRECISION] = average_precision(useful)
        ranks = ", ".join(str(rank) for rank, is_useful in enumerate(useful, 1) if is_useful)
        record.notes[PRECISION] = f"useful: {ranks or 'none'} of {len(useful)} passages"


def refusal_measure(question: Question) -> str:
    """Return the measure of whether it is right that a question is answered or refused."""
    return REFUSED if question.unanswerable else ANSWERED


def split_claims(text: str) -> list[str]:
    """Return the sentences of an answer which need a source, without the numbers of what they cite."""
    return [piece.text for piece in pieces(_MARKS.sub("", text)) if is_claim(piece.text)]


def _judge_claims(judge: Judge, answer: Answer, record: Answered) -> None:
    claims = split_claims(answer.text)
    if not claims:
        return
    try:
        verdicts = judge.supported(claims, [citation.passage.text for citation in answer.citations])
    except NotJudgedError as error:
        record.claims = tuple(Claim(claim, None) for claim in claims)
        record.miss((FAITHFULNESS,), str(error))
        return
    record.claims = tuple(Claim(claim, verdict) for claim, verdict in zip(claims, verdicts, strict=True))
    record.values[FAITHFULNESS] = sum(verdicts) / len(verdicts)


def _judge_answer(judge: Judge, question: Question, record: Answered) -> None:
    measures = (RELEVANCY, CORRECTNESS) if question.answer else (RELEVANCY,)
    if record.text is None:  # a refusal neither addresses the question nor says what the reference says
        record.values.update(dict.fromkeys(measures, 0.0))
        record.notes.update(dict.fromkeys(measures, "no: it was refused"))
        return
    try:
        addresses, agrees = judge.addresses(question.text, record.text, question.answer)
    except NotJudgedError as error:
        record.miss(measures, str(error))
        return
    for measure, degree in zip(measures, (addresses, agrees), strict=False):
        if degree is None:
            record.miss((measure,), "The judge gave no verdict on it.")
        else:
            record.values[measure] = float(degree == "yes")
            record.notes[measure] = degree
