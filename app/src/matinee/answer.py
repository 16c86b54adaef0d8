"""Answer a question from the passages found for it: with a model, or by quoting them; or say they do not."""

import re
import threading
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum

from matinee.citations import Checker, is_claim, merge
from matinee.cited import UNSUPPORTED_MARK, Checked, CitedText
from matinee.embedding import Embedder
from matinee.extract import extract
from matinee.llm import Chain, CutOffError, LanguageModelError, StoppedError, Turn, Writer
from matinee.markdown import Cleaner
from matinee.prompt import INSTRUCTIONS, NOT_FOUND, leaks, request
from matinee.retrieval import Found, Hit, Trace
from matinee.stores.truth import Passage, Truth

__all__ = ["UNSUPPORTED_MARK", "Answer", "Answerer", "Citation", "Delta", "Kind"]

LEAK_WINDOW = 600  # characters before a new part, with which it may make a leak

_OWN_MARK = re.compile(r"\[(\s*\d[\d\s,;–-]*)\]")  # by which a document names its own sources
_BEGINS = re.compile(r"[.!?\]\n][\s*_\"'-]*\Z")  # what a sentence begins after


class Kind(StrEnum):
    """How an answer came about."""

    MODEL = "model"
    EXTRACTIVE = "extractive"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Citation:
    """A passage under the number an answer cites it by; `quotes` are offsets of what supports it."""

    number: int
    passage: Passage
    quotes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Attributes:
        kind: how it came about.
        text: a model's is Markdown that is safe to show, an extract is plain text. [1], [2]… are the
            citations and nothing else, and UNSUPPORTED_MARK stands after a claim that no passage supports.
        citations: of an unsupported question the nearest passages, which do not answer it.
        notice: what went wrong, in words.
        writer: the model which wrote it.
        trace: how its passages were found.
        question: as it was searched for.
    """

    kind: Kind
    text: str
    citations: tuple[Citation, ...] = ()
    notice: str | None = None
    writer: Writer | None = None
    trace: Trace | None = None
    question: str = ""


@dataclass(frozen=True)
class Delta:
    """The next part of an answer that is being written."""

    text: str


class Answerer:
    """Makes answers.

    Args:
        truth: gives the text around a passage.
        embedder: compares sentences with the question and with passages.
        chain: writes the answers; without one they are quotes.
    """

    def __init__(self, truth: Truth, embedder: Embedder, chain: Chain | None) -> None:
        self._truth = truth
        self._embedder = embedder
        self.chain = chain

    def answer(
        self,
        question: str,
        found: Found,
        turns: Sequence[Turn] = (),
        stop: threading.Event | None = None,
    ) -> Generator[Delta | Answer]:
        """Yield parts of the answer as they come, and last the whole of it, which is what counts.

        Closing the iterator stops the model. So does setting `stop`; then what came is the whole.
        """
        with closing(self._answer(question, found, turns, stop)) as parts:
            for part in parts:
                yield part if isinstance(part, Delta) else replace(part, trace=found.trace, question=question)

    def _answer(
        self, question: str, found: Found, turns: Sequence[Turn], stop: threading.Event | None
    ) -> Generator[Delta | Answer]:
        hits = found.hits
        if self.chain is None or not hits:
            yield self._quote(question, found)
            return
        draft = _Draft(hits, Checker(self._embedder, question))
        try:
            asked = request(question, hits, turns)
            with closing(self.chain.stream(INSTRUCTIONS, asked, stop)) as parts:
                for part in parts:
                    if isinstance(part, Writer):
                        draft.writer = part
                    elif shown := draft.feed(part):
                        yield Delta(shown)
                    if draft.leaked:
                        break
        except StoppedError as error:
            draft.writer = error.writer
            draft.cut_off()
            yield draft.answer(_notices(draft.writer, str(error)))
            return
        except CutOffError as error:
            draft.writer = error.writer
            if draft.cut_off():
                notice = f"{error} What came until then is shown."
                yield draft.answer(_notices(draft.writer, notice))
            else:
                yield replace(self._quote(question, found), notice=str(error))
            return
        except LanguageModelError as error:
            yield replace(self._quote(question, found), notice=str(error))
            return
        if shown := draft.finish():
            yield Delta(shown)
        if problem := draft.problem():
            yield replace(_refuse(hits), notice=problem or None, writer=draft.writer)
        elif draft.refused:
            yield replace(_refuse(hits), notice=_notices(draft.writer), writer=draft.writer)
        else:
            yield draft.answer(_notices(draft.writer))

    def _quote(self, question: str, found: Found) -> Answer:
        """Answer with the sentences nearest to the question, word for word."""
        extracts = extract(question, found.trace.question, found.hits, self._truth, self._embedder)
        if not extracts:
            return _refuse(found.hits)
        text = "\n\n".join(
            f"{_without_marks(part.text)} [{number}]" for number, part in enumerate(extracts, 1)
        )
        citations = tuple(
            Citation(number, part.passage, tuple((one.start, one.end) for one in part.sentences))
            for number, part in enumerate(extracts, 1)
        )
        return Answer(Kind.EXTRACTIVE, text, citations)


class _Draft:
    """An answer a model is writing: checked sentence by sentence, and cleaned."""

    def __init__(self, hits: Sequence[Hit], checker: Checker) -> None:
        self._hits = hits
        self._checker = checker
        self._cited = CitedText(self._check)
        self._cleaner = Cleaner()
        self._raw = ""
        self._held = True  # until it is clear that this is no refusal
        self._taken = 0  # characters of what the model wrote that have been given on
        self._text = ""
        self._quotes: dict[int, list[tuple[int, int]]] = {}
        self._unsupported = 0
        self._cut = False
        self.leaked = False
        self.writer: Writer | None = None

    @property
    def refused(self) -> bool:
        """Whether the model says that the passages do not answer; what they support of an answer stands."""
        return not self._quotes and (NOT_FOUND in self._raw or not self._raw.strip())

    def feed(self, part: str) -> str:
        """Take what the model wrote; returns what can be shown of it."""
        self._raw += part
        self.leaked = leaks(self._raw[-(LEAK_WINDOW + len(part)) :])
        if self.leaked:
            return ""
        if self._held:
            if NOT_FOUND.startswith(self._raw.strip(" \n*_\"'`")[: len(NOT_FOUND)]):
                return ""
            self._held, self._taken = False, len(self._raw) - len(self._raw.lstrip())
        return self._show(self._cited.feed(self._take(_begun(self._raw))))

    def finish(self) -> str:
        """Return the rest of what can be shown."""
        if self.leaked or self._held:
            return ""
        return self._show(self._cited.feed(self._take()) + self._cited.finish())

    def cut_off(self) -> bool:
        """End an answer which broke off; tells whether what came can be shown."""
        self._cut = True
        self.finish()
        if self._text.strip():
            self._text = self._text.rstrip() + " …"
        return bool(self._quotes) and not self.leaked and not self.refused

    def problem(self) -> str | None:
        """Return why the answer cannot be shown, in words."""
        name = f"{self.writer.provider}/{self.writer.model}" if self.writer else "The model"
        if self.leaked:
            return "The model repeated its instructions instead of answering, so its answer is not shown."
        if self.refused or self._quotes:
            return None
        if self._unsupported:
            return f"{name} wrote an answer which the documents do not support, so it is not shown."
        return f"{name} wrote an answer without naming a source for it, so it is not shown."

    def answer(self, notice: str | None) -> Answer:
        """Return the whole answer."""
        citations = tuple(
            Citation(number, self._hits[number - 1].passage, merge(quotes))
            for number, quotes in sorted(self._quotes.items())
        )
        return Answer(Kind.MODEL, self._text.strip(), citations, notice, self.writer)

    def _take(self, held: int = 0) -> str:
        """Return what has come since, but for the last characters, with a refusal in it in plain words."""
        start, self._taken = self._taken, len(self._raw) - held
        first, *rest = self._raw[start : self._taken].split(NOT_FOUND)
        text, at = first, start + len(first)
        for after in rest:
            plain = NOT_FOUND.capitalize() if _BEGINS.search(self._raw[:at]) else NOT_FOUND.lower()
            text += plain + after
            at += len(NOT_FOUND) + len(after)
        return text

    def _show(self, text: str) -> str:
        text = self._cleaner.feed(text)
        self._text += text
        return text

    def _check(self, sentence: str, numbers: tuple[int, ...]) -> Checked:
        """Tell which passages support a sentence: those it cites, or else another one that was found."""
        if not is_claim(sentence):
            return Checked(())
        every = range(1, len(self._hits) + 1)
        for cited in ([number for number in numbers if number in every], every):
            supports = {n: self._checker.support(sentence, self._hits[n - 1].passage) for n in cited}
            held = [number for number, support in supports.items() if support.holds]
            if cited is every:
                held = sorted(held, key=lambda n: -(supports[n].words + supports[n].cosine))[:1]
            for number in held:
                self._quotes.setdefault(number, []).extend(supports[number].quotes)
            if held:
                return Checked(tuple(held))
        unsupported = not self._cut
        self._unsupported += unsupported
        return Checked((), unsupported)


def _without_marks(quote: str) -> str:
    """Return a quote with full-width brackets around its own numbers, which would pass for citations."""
    return _OWN_MARK.sub("［\\1］", quote)


def _begun(text: str) -> int:
    """Return how many characters at the end of a text may become the phrase of a refusal."""
    return next(n for n in range(len(NOT_FOUND) - 1, -1, -1) if text.endswith(NOT_FOUND[:n]))


def _notices(writer: Writer | None, notice: str | None = None) -> str | None:
    """Return the notice, with the models before this one that did not answer."""
    if writer is None or not writer.passed_over:
        return notice
    passed_over = f"{writer.provider}/{writer.model} answered instead of {', '.join(writer.passed_over)}."
    return f"{notice} {passed_over}" if notice else passed_over


def _refuse(hits: Sequence[Hit]) -> Answer:
    nearest = sorted(hits, key=lambda hit: -hit.similarity)[:1]
    return Answer(Kind.UNSUPPORTED, "", tuple(Citation(1, hit.passage) for hit in nearest))
