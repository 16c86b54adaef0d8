"""Runs and comparisons as text for a terminal."""

from collections.abc import Sequence

from matinee.evaluation.comparison import Comparison
from matinee.stores.evaluations import Figure, Run, Spent

CHANGED = 5  # questions named for each measure
RIGHT = frozenset("0123456789+-–.")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns under their heads; numbers stand to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        cells = []
        for position, (cell, width) in enumerate(zip(row, widths, strict=True)):
            numeric = all(set(other[position]) <= RIGHT for other in rows)
            cells.append(cell.rjust(width) if numeric else cell.ljust(width))
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def value(number: float | None) -> str:
    """Return a figure with three decimals."""
    return "–" if number is None else f"{number:.3f}"


def judged(figure: Figure) -> str:
    """Say of how many questions a figure is the mean."""
    return f"{figure.judged} of {figure.of}"


def money(price: float | None) -> str:
    """Return a price in US dollars."""
    if price is None:
        return "price not known"
    return f"{price:.2f} USD" if price >= 0.1 else f"{price:.4f} USD"


def spent(used: Spent) -> str:
    """Say what models took."""
    return (
        f"{used.calls:,} calls, {used.input_tokens:,} tokens read and {used.output_tokens:,} written, "
        f"{money(used.price_usd)}"
    )


def run_report(run: Run) -> str:
    """Return a run's settings and figures."""
    stopped = "" if run.complete else ", stopped before its end"
    lines = [f"{run.set_name}, {run.at.astimezone():%Y-%m-%d %H:%M}, version {run.version}{stopped}", ""]
    lines += [f"{name + ':':<11}{setting}" for name, setting in run.settings.items()]
    if run.spent:
        lines.append(f"{'spent:':<11}{spent(run.spent)}")
    rows = [(measure, value(figure.mean), judged(figure)) for measure, figure in run.figures.items()]
    return "\n".join([*lines, "", table(("measure", "mean", "judged"), rows)])


def list_report(runs: Sequence[Run]) -> str:
    """Return the runs, one a line, each with its first figures."""
    rows = []
    for run in runs:
        shown = [f"{name} {value(figure.mean)}" for name, figure in run.figures.items()]
        state = "" if run.complete else "stopped"
        rows.append(
            (str(run.id), f"{run.at.astimezone():%Y-%m-%d %H:%M}", run.set_name, state, ", ".join(shown))
        )
    return table(("run", "when", "set", "", "figures"), rows)


def comparison_report(comparison: Comparison) -> str:
    """Return measures before and after, and the questions which changed."""
    rows = [
        (
            row.measure,
            value(row.before),
            value(row.after),
            f"{row.difference:+.3f}",
            str(row.better),
            str(row.worse),
            str(row.questions),
        )
        for row in comparison.rows
    ]
    lines = [*(f"Not the same: {difference}." for difference in comparison.differences), ""]
    lines.append(table(("measure", "before", "after", "difference", "better", "worse", "questions"), rows))
    for row in comparison.rows:
        if row.changes:
            lines += ["", row.measure]
            lines += [
                f"  {value(change.before)} → {value(change.after)}  {change.question}"
                for change in row.changes[:CHANGED]
            ]
            if len(row.changes) > CHANGED:
                lines.append(f"  and {len(row.changes) - CHANGED} more; --json has them all")
    return "\n".join(lines).lstrip("\n")
