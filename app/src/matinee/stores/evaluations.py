"""What was measured: runs of judged sets, with what became of each question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

if TYPE_CHECKING:
    from matinee.stores.truth import Truth

SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS evaluations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run TEXT NOT NULL,              -- JSON of Run, without its id
        results TEXT NOT NULL           -- JSON list of Result
    )
    """,
)


@dataclass(frozen=True)
class Figure:
    """The mean of a measure over the questions it could be told for; None if there was none."""

    mean: float | None
    judged: int
    of: int


@dataclass(frozen=True)
class Spent:
    """What a run asked of language models. The price is None where it is not known."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    price_usd: float | None = 0.0


@dataclass(frozen=True)
class Place:
    """A passage that was found: where it stands, and whether it is what was looked for."""

    document: str
    page: int | None
    excerpt: str
    relevant: bool


@dataclass(frozen=True)
class Claim:
    """A sentence of an answer, and whether the passages it cites say so; None if that was not judged."""

    text: str
    supported: bool | None


@dataclass(frozen=True)
class Result:
    """What became of one question.

    `values` holds the measures which apply to it; None is one that could not be judged, for which `notes`
    says why. `notes` also hold verdicts in words.
    """

    id: str
    question: str
    expected: str
    found: tuple[Place, ...]
    values: Mapping[str, float | None]
    answer: str | None = None
    claims: tuple[Claim, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A judged set, run once. `settings` are those which change the figures."""

    at: datetime
    version: str
    set_name: str
    set_sha256: str
    settings: Mapping[str, str]
    figures: Mapping[str, Figure]
    complete: bool
    spent: Spent | None = None
    id: int = 0


_RUN, _RESULTS = TypeAdapter(Run), TypeAdapter(tuple[Result, ...])


class Evaluations:
    """The runs kept in a data folder.

    Args:
        truth: the folder's file.
    """

    def __init__(self, truth: "Truth") -> None:
        self._truth = truth

    def add(self, run: Run, results: Sequence[Result]) -> int:
        """Keep a run; returns its id."""
        row = (_RUN.dump_json(run, exclude={"id"}).decode(), _RESULTS.dump_json(tuple(results)).decode())
        with self._truth.transaction() as connection:
            cursor = connection.execute("INSERT INTO evaluations (run, results) VALUES (?, ?)", row)
            return int(cursor.lastrowid or 0)

    def list(self) -> list[Run]:
        """Return the runs, newest first."""
        rows = self._truth.read("SELECT json_set(run, '$.id', id) FROM evaluations ORDER BY id DESC")
        return [_RUN.validate_json(run) for (run,) in rows]

    def results(self, run_id: int) -> tuple[Result, ...]:
        """Return what became of each question of a run."""
        rows = self._truth.read("SELECT results FROM evaluations WHERE id = ?", (run_id,))
        return _RESULTS.validate_json(rows[0][0]) if rows else ()
