"""Judged sets: questions of which it is known where the answer stands, or that there is none."""

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from matinee.errors import MatineeError

SAMPLE = "guide.questions.jsonl"


class SetError(MatineeError):
    """A judged set cannot be used; the message names the file and the line."""


@dataclass(frozen=True)
class Question:
    """A question, and the documents which answer it by how well they do: none, if it is unanswerable."""

    id: str
    text: str
    relevant: Mapping[str, int]
    answer: str | None = None
    quote: str | None = None
    line: int = 0

    @property
    def unanswerable(self) -> bool:
        """Whether refusing is the right answer."""
        return not self.relevant


@dataclass(frozen=True)
class JudgedSet:
    """Questions with what is known of them. `corpus` is the file of a set which brings its documents."""

    name: str
    sha256: str
    questions: tuple[Question, ...]
    corpus: Path | None = None


class _Line(BaseModel):
    """A line of a questions file."""

    model_config = ConfigDict(strict=True, str_strip_whitespace=True)

    question: str = Field(min_length=1)
    file: str | None = None
    answer: str | None = None
    quote: str | None = Field(default=None, validation_alias=AliasChoices("quote", "passage"))
    unanswerable: bool = False

    @model_validator(mode="after")
    def _says_what_is_right(self) -> "_Line":
        if self.unanswerable == bool(self.file):
            raise ValueError(
                'give either "file", the document which holds the answer, or "unanswerable": true'
            )
        return self


class _Entry(BaseModel):
    """A line of a BEIR set's queries or corpus."""

    id: str = Field(validation_alias="_id", min_length=1)
    text: str
    title: str = ""


def read_set(path: Path) -> JudgedSet:
    """Read a file of questions, or a BEIR folder.

    Raises:
        SetError: if it cannot be used.
    """
    return _read_beir(path) if path.is_dir() else _read_questions(path, path.name)


def read_sample(name: str) -> JudgedSet:
    """Read the questions about the sample document, which has this name in the library."""
    with resources.as_file(resources.files("matinee.samples").joinpath(SAMPLE)) as path:
        judged = _read_questions(path, "sample")
    questions = (
        replace(question, relevant=dict.fromkeys([name] if question.relevant else [], 1))
        for question in judged.questions
    )
    return replace(judged, questions=tuple(questions))


def read_corpus(path: Path) -> Iterator[tuple[str, str]]:
    """Yield id and text of each document of a BEIR set.

    Raises:
        SetError: at a line that cannot be used.
    """
    for number, value in _read_lines(path):
        entry = _checked(_Entry, value, path, number)
        yield entry.id, f"{entry.title}\n{entry.text}".strip()


def _read_questions(path: Path, name: str) -> JudgedSet:
    questions: dict[str, Question] = {}
    for number, value in _read_lines(path):
        line = _checked(_Line, value, path, number)
        if line.question in questions:
            raise SetError(
                f"{path}, line {number}: asks the same as line {questions[line.question].line}. Remove one."
            )
        relevant = {line.file: 1} if line.file else {}
        questions[line.question] = Question(
            line.question, line.question, relevant, line.answer, line.quote, number
        )
    if not questions:
        raise SetError(f"{path} has no questions.")
    return JudgedSet(name, hashlib.sha256(path.read_bytes()).hexdigest(), tuple(questions.values()))


def _read_beir(folder: Path) -> JudgedSet:
    corpus, queries, judgements = (
        folder / part for part in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
    )
    missing = [
        path.relative_to(folder).as_posix() for path in (corpus, queries, judgements) if not path.is_file()
    ]
    if missing:
        raise SetError(
            f"{folder} is not a BEIR set: it lacks {', '.join(missing)}. "
            "Give a folder with these, or a file of questions."
        )
    known = {key for key, _ in read_corpus(corpus)}
    texts = {}
    for number, value in _read_lines(queries):
        entry = _checked(_Entry, value, queries, number)
        texts[entry.id] = entry.text
    relevant: dict[str, dict[str, int]] = {}
    for number, query, document, score in _read_judgements(judgements):
        for key, keys, what in ((query, texts, "query"), (document, known, "document")):
            if key not in keys:
                raise SetError(f"{judgements}, line {number}: there is no {what} {key} in the set.")
        if score > 0:
            relevant.setdefault(query, {})[document] = score
    if not relevant:
        raise SetError(f"{judgements} judges no document relevant.")
    digest = hashlib.sha256()
    for path in (corpus, queries, judgements):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    questions = tuple(Question(query, texts[query], documents) for query, documents in relevant.items())
    return JudgedSet(folder.resolve().name, digest.hexdigest(), questions, corpus)


def _read_judgements(path: Path) -> Iterator[tuple[int, str, str, int]]:
    with path.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
            if number == 1 and row == ["query-id", "corpus-id", "score"]:
                continue
            try:
                query, document, score = row
                yield number, query, document, int(score)
            except ValueError:
                raise SetError(
                    f"{path}, line {number}: is not a query's id, a document's id and a whole number, "
                    "with tabs between them."
                ) from None


def _read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the values of a file of one JSON value per line, with the lines' numbers."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except json.JSONDecodeError as error:
                        raise SetError(f"{path}, line {number}: is not JSON ({error.msg}).") from None
    except OSError as error:
        raise SetError(f"{path} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise SetError(f"{path} is not text in UTF-8. Save it as UTF-8.") from None


def _checked[Model: BaseModel](model: type[Model], value: object, path: Path, number: int) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise SetError(f"{path}, line {number}: {f'{where}: ' if where else ''}{message}.") from None
