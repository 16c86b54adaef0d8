"""The evaluation: what was measured, one run beside another, and question by question."""

import html
from collections.abc import Iterable, Sequence
from datetime import UTC
from pathlib import Path

import streamlit as st

from matinee.evaluation.comparison import Row, compare
from matinee.evaluation.measures import MEASURES
from matinee.evaluation.report import judged, spent, value
from matinee.evaluation.run import sample_evaluation
from matinee.stores.evaluations import Evaluations, Result, Run
from matinee.ui.text import count, escape_markdown
from matinee.workspace import Workspace

STYLE = Path(__file__).parent / "evaluation.css"
CHARTED = 24  # runs shown as columns
PER_PAGE = 25  # questions

COMMANDS = """\
matinee evaluate questions.jsonl              # your own questions, of your documents
matinee evaluate questions.jsonl --judge      # the answers, too, judged by a language model
matinee evaluate --help
"""


def draw(workspace: Workspace) -> None:
    """Draw the runs and what can be done with them."""
    st.html(STYLE)
    st.title("Evaluation", anchor=False)
    st.markdown(
        "How well questions are found and answered, on questions whose answers are known. "
        "All figures are from 0 to 1; more is better."
    )
    runs = Evaluations(workspace.engine.truth)
    if st.button("Measure with the sample", icon=":material/speed:", type="primary"):
        _measure_sample(workspace, runs)
    kept = runs.list()
    if not kept:
        st.markdown(
            "**No runs yet.** The button searches for the answers of twenty questions about the sample "
            "document, which takes some seconds and costs nothing. For questions of your own, on the command "
            "line:"
        )
        st.code(COMMANDS, language=None)
        return
    st.html('<span class="matinee-wide"></span>')
    chosen = _draw_sets(kept)
    history, questions, comparison = st.tabs(["Runs", "Questions", "Compare"])
    with history:
        _draw_charts(chosen)
        _draw_runs(chosen)
    with questions:
        _draw_questions(runs, chosen)
    with comparison:
        _draw_comparison(runs, chosen)


def _measure_sample(workspace: Workspace, runs: Evaluations) -> None:
    """Run the questions about the sample, against it alone, and keep the run."""
    bar = st.progress(0.0, "Beginning")

    def show(stage: str, share: float) -> None:
        bar.progress(min(share, 1.0), stage)

    evaluation = sample_evaluation(workspace, show)
    evaluation.measure(show)
    number = runs.add(*evaluation.outcome())
    bar.empty()
    st.toast(f"Kept as run {number}.", icon=":material/check_circle:")


def _draw_sets(kept: Sequence[Run]) -> list[Run]:
    """Let the person choose a set where there are several; returns its runs, newest first."""
    names = {run.set_sha256: f"{run.set_name} ({run.set_sha256[:8]})" for run in reversed(kept)}
    sets = list(dict.fromkeys(run.set_sha256 for run in kept))
    chosen = sets[0]
    if len(sets) > 1:
        chosen = st.selectbox("Judged set", sets, format_func=lambda key: names[key], key="set")
    return [run for run in kept if run.set_sha256 == chosen]


def _draw_charts(runs: Sequence[Run]) -> None:
    """Draw each measure over the runs, as columns; a reader of the screen hears the numbers."""
    newest = runs[0]
    shown = list(reversed(runs[:CHARTED]))
    charts = []
    for measure in newest.figures:
        means = [run.figures[measure].mean if measure in run.figures else None for run in shown]
        words = [
            _word(mean) if measure in run.figures else "not measured"
            for run, mean in zip(shown, means, strict=True)
        ]
        told = [f"run {run.id} {word}" for run, word in zip(shown, words, strict=True)]
        columns = "".join(
            f'<span class="unknown" title="{text}"></span>'
            if mean is None
            else f'<span style="height: {mean:.1%}" title="{text}"></span>'
            for mean, text in zip(means, told, strict=True)
        )
        charts.append(
            f'<figure class="matinee-chart"><div class="columns" role="img"'
            f' aria-label="{measure}: {", ".join(told)}">'
            f"{columns}</div><figcaption>{measure}<br><strong>{words[-1]}</strong>"
            f"{_step(means)}</figcaption></figure>"
        )
    st.html(f'<div class="matinee-charts">{"".join(charts)}</div>')
    with st.expander("What the figures mean"):
        st.markdown(
            "\n".join(f"- **{measure}**: {meaning}" for measure, meaning in MEASURES.items())
            + "\n\nA judge is a language model. What it did not judge in the form asked for counts as not "
            "judged: it is left out of the mean, never set to zero."
        )


def _draw_runs(runs: Sequence[Run]) -> None:
    measures = [measure for measure in MEASURES if any(measure in run.figures for run in runs)]
    rows = []
    for run in runs:
        settings = [f"{name}: {setting}" for name, setting in run.settings.items()]
        if run.spent:
            settings.append(f"spent: {spent(run.spent)}")
        cells = [_cell(_when(run), "" if run.complete else "stopped before its end"), _cell(run.version)]
        cells.append(f'<td class="settings">{_small(settings)}</td>')
        for measure in measures:
            figure = run.figures.get(measure)
            cells.append(
                _cell(_word(figure.mean), judged(figure), figure=True) if figure else _cell("", figure=True)
            )
        rows.append(f"<tr><td>{run.id}</td>{''.join(cells)}</tr>")
    st.html(_table(["Run", "When", "Version", "Settings"], measures, rows))


def _draw_questions(runs: Evaluations, chosen: Sequence[Run]) -> None:
    run = _choose_run("Run", chosen, 0)
    results = sorted(runs.results(run.id), key=_goodness)
    st.caption(f"{count(len(results), 'question')}, the weakest first. Each opens to show what was found.")
    pages = -(-len(results) // PER_PAGE)
    number = st.pagination(pages, key=f"questions-{run.id}") if pages > 1 else 1
    measures = list(run.figures)
    rows = []
    for result in results[(number - 1) * PER_PAGE : number * PER_PAGE]:
        cells = [
            _cell(_word(result.values[measure]) if measure in result.values else "", figure=True)
            for measure in measures
        ]
        rows.append(f'<tr><th scope="row">{_question(result)}</th>{"".join(cells)}</tr>')
    st.html(_table(["Question"], measures, rows))


def _draw_comparison(runs: Evaluations, chosen: Sequence[Run]) -> None:
    if len(chosen) < 2:
        st.markdown("**There is one run of this set.** Change something, measure again, and compare here.")
        return
    first, second = st.columns(2)
    with first:
        before = _choose_run("Before", chosen, 1)
    with second:
        after = _choose_run("After", chosen, 0)
    comparison = compare(before, runs.results(before.id), after, runs.results(after.id))
    for difference in comparison.differences:
        st.caption(f"Not the same: {escape_markdown(difference)}.")
    rows = [
        f'<tr><th scope="row">{_changes(row)}</th>'
        + _cell(f"{row.before:.3f}", figure=True)
        + _cell(f"{row.after:.3f}", figure=True)
        + _cell(f"{row.difference:+.3f}", figure=True)
        + _cell(str(row.better), figure=True)
        + _cell(str(row.worse), figure=True)
        + _cell(str(row.questions), figure=True)
        + "</tr>"
        for row in comparison.rows
    ]
    st.html(
        _table(["Measure"], ["before", "after", "difference", "better", "worse", "questions compared"], rows)
    )


def _choose_run(label: str, runs: Sequence[Run], index: int) -> Run:
    known = {run.id: run for run in runs}

    def name(key: int) -> str:
        return f"Run {key}, {_when(known[key])}, {known[key].version}"

    return known[st.selectbox(label, list(known), index=index, format_func=name)]


def _question(result: Result) -> str:
    """Return a question which opens to what became of it."""
    found = "".join(
        f"<li>{'<strong>right:</strong> ' if place.relevant else ''}{_escaped(place.document)}"
        f"{f', page {place.page}' if place.page else ''}<small>{_escaped(place.excerpt)}…</small></li>"
        for place in result.found
    )
    parts = [f"<p>Expected: {_escaped(result.expected) or 'no answer, for the documents have none'}</p>"]
    parts.append(f"<p>Found:</p><ol>{found}</ol>" if found else "<p>Found: nothing</p>")
    if result.answer:
        parts.append(f"<p>Answer: {_escaped(result.answer)}</p>")
    if result.claims:
        words = {True: "supported", False: "not supported", None: "not judged"}
        claims = "".join(f"<li><em>{words[c.supported]}:</em> {_escaped(c.text)}</li>" for c in result.claims)
        parts.append(f"<p>Claims:</p><ul>{claims}</ul>")
    parts += [f"<p>{_escaped(measure)}: {_escaped(note)}</p>" for measure, note in result.notes.items()]
    return f"<details><summary>{_escaped(result.question)}</summary>{''.join(parts)}</details>"


def _changes(row: Row) -> str:
    """Return a measure which opens to the questions that changed."""
    if not row.changes:
        return _escaped(row.measure)
    items = "".join(
        f"<li>{change.before:.3f} → {change.after:.3f} {_escaped(change.question)}</li>"
        for change in row.changes
    )
    changed = count(len(row.changes), "question")
    return (
        f"<details><summary>{_escaped(row.measure)} <small>{changed} changed</small></summary>"
        f"<ul>{items}</ul></details>"
    )


def _goodness(result: Result) -> float:
    values = [value for value in result.values.values() if value is not None]
    return sum(values) / len(values) if values else 0.0


def _table(heads: Iterable[str], figures: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f'<th scope="col">{_escaped(name)}</th>' for name in heads)
    head += "".join(f'<th scope="col" class="figure">{_escaped(name)}</th>' for name in figures)
    return (
        f'<div class="matinee-figures" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(text: str, more: str = "", figure: bool = False) -> str:
    kind = ' class="figure"' if figure else ""
    return f"<td{kind}>{_escaped(text)}{_small([more] if more else [])}</td>"


def _small(texts: Iterable[str]) -> str:
    return "".join(f"<small>{_escaped(text)}</small>" for text in texts)


def _word(mean: float | None) -> str:
    return "not judged" if mean is None else value(mean)


def _step(means: Sequence[float | None]) -> str:
    """Say how far the newest figure is from the one before."""
    if len(means) < 2 or means[-1] is None or means[-2] is None:
        return ""
    return f" {means[-1] - means[-2]:+.3f}"


def _when(run: Run) -> str:
    return f"{run.at.astimezone(UTC):%-d %b %Y, %H:%M} UTC"


def _escaped(text: str) -> str:
    return html.escape(text)
