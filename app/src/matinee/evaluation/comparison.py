"""Compare two runs, question by question."""

from collections.abc import Sequence
from dataclasses import dataclass

from matinee.evaluation.measures import MEASURES
from matinee.stores.evaluations import Result, Run


@dataclass(frozen=True)
class Change:
    """A question whose value is another one in the later run."""

    question: str
    before: float
    after: float


@dataclass(frozen=True)
class Row:
    """A measure in both runs, over the questions it was told for in both. `changes` has the largest first."""

    measure: str
    before: float
    after: float
    questions: int
    changes: tuple[Change, ...]

    @property
    def difference(self) -> float:
        """How much more it is in the later run."""
        return self.after - self.before

    @property
    def better(self) -> int:
        """Questions with a higher value in the later run."""
        return sum(change.after > change.before for change in self.changes)

    @property
    def worse(self) -> int:
        """Questions with a lower value in the later run."""
        return len(self.changes) - self.better


@dataclass(frozen=True)
class Comparison:
    """Two runs beside each other. `differences` are the settings which are not the same, in words."""

    rows: tuple[Row, ...]
    differences: tuple[str, ...]


def compare(
    before: Run, results_before: Sequence[Result], after: Run, results_after: Sequence[Result]
) -> Comparison:
    """Compare two runs over the questions that are in both."""
    earlier = {result.id: result for result in results_before}
    pairs = [(earlier[result.id], result) for result in results_after if result.id in earlier]
    rows = (_row(measure, pairs) for measure in MEASURES)
    return Comparison(tuple(row for row in rows if row), _differences(before, after))


def _row(measure: str, pairs: Sequence[tuple[Result, Result]]) -> Row | None:
    both = [
        Change(after.question, first, second)
        for before, after in pairs
        if (first := before.values.get(measure)) is not None
        and (second := after.values.get(measure)) is not None
    ]
    if not both:
        return None
    changes = [change for change in both if change.before != change.after]
    changes.sort(key=lambda change: -abs(change.after - change.before))
    return Row(
        measure,
        sum(change.before for change in both) / len(both),
        sum(change.after for change in both) / len(both),
        len(both),
        tuple(changes),
    )


def _differences(before: Run, after: Run) -> tuple[str, ...]:
    told = []
    if before.set_sha256 != after.set_sha256:
        told.append(
            f"set: {before.set_name} → {after.set_name}; these are not the same questions, "
            "and only those in both are compared"
        )
    if before.version != after.version:
        told.append(f"version: {before.version} → {after.version}")
    for name in dict.fromkeys([*before.settings, *after.settings]):
        first, second = before.settings.get(name, "none"), after.settings.get(name, "none")
        if first != second:
            told.append(f"{name}: {first} → {second}")
    told += [f"run {run.id} was stopped before its end" for run in (before, after) if not run.complete]
    return tuple(told)
