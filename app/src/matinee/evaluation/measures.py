"""The measures: how each is computed for a question, and their means over a set."""

from collections.abc import Iterable, Mapping, Sequence

from matinee.stores.evaluations import Figure, Result

DEPTH = 10  # of a ranking, at most, is looked at

FAITHFULNESS, RELEVANCY, CORRECTNESS = "faithfulness", "relevancy", "correctness"
PRECISION, ANSWERED, REFUSED = "context precision", "answered", "refused"

MEASURES = {
    "document nDCG@10": "how high the right documents stand among the first ten",
    "document R@5": "share of the right documents among the first five",
    "document R@10": "share of the right documents among the first ten",
    "document RR@10": "1 / rank of the first right document",
    "passage nDCG@10": "how high the passage with the quote stands among the first ten",
    "passage R@5": "the passage with the quote is among the first five",
    "passage R@10": "the passage with the quote is among the first ten",
    "passage RR@10": "1 / rank of the passage with the quote",
    ANSWERED: "questions with an answer in the documents that were not refused",
    REFUSED: "questions without an answer in the documents that were refused",
    FAITHFULNESS: "share of the answer's sentences which the passages it cites support",
    RELEVANCY: "answers which address the question in full",
    CORRECTNESS: "answers which agree with the reference in full",
    PRECISION: "how high the useful passages stand among those given to the model (average precision)",
}
"""What can be measured, in the order it is shown, and what it means. All are from 0 to 1; more is better."""


def rank_measures(
    what: str, rankings: Mapping[str, Sequence[str]], relevant: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, float]]:
    """Compare rankings with what is relevant, for each question: what `what` names, best first."""
    from ir_measures import RR, R, iter_calc, nDCG  # 0.2 s to import, which a start should not pay

    run = {
        key: {name: -float(rank) for rank, name in enumerate(ranking)} for key, ranking in rankings.items()
    }
    judgements = {key: dict(relevant[key]) for key in rankings}
    measures = [nDCG @ DEPTH, R @ 5, R @ DEPTH, RR @ DEPTH]
    values: dict[str, dict[str, float]] = {key: {} for key in rankings}
    for metric in iter_calc(measures, judgements, run):
        values[metric.query_id][f"{what} {metric.measure}"] = float(metric.value)
    return values


def average_precision(useful: Sequence[bool]) -> float:
    """Return the mean, over the useful ones of a ranking, of the share of useful ones down to there."""
    shares = [sum(useful[:rank]) / rank for rank, is_useful in enumerate(useful, 1) if is_useful]
    return sum(shares) / len(shares) if shares else 0.0


def mean(values: Iterable[float | None]) -> Figure:
    """Return the mean of what was judged, and of how many."""
    every = list(values)
    judged = [value for value in every if value is not None]
    return Figure(sum(judged) / len(judged) if judged else None, len(judged), len(every))


def figures(results: Sequence[Result]) -> dict[str, Figure]:
    """Return the figures of a run, of the measures that apply to any of its questions."""
    return {
        measure: mean(result.values[measure] for result in results if measure in result.values)
        for measure in MEASURES
        if any(measure in result.values for result in results)
    }
