"""What judging a set will cost, told before any model is asked."""

from dataclasses import dataclass

from matinee.evaluation.judge import judge_chain
from matinee.evaluation.run import Evaluation
from matinee.llm.model import Model, Usage
from matinee.llm.prices import Prices
from matinee.llm.providers import models
from matinee.settings import Settings
from matinee.stores.evaluations import Spent

CHARACTERS = 4  # of English to a token, about
FRAME_TOKENS = 300  # instructions, question, answer and reference in a request
ANSWER_TOKENS, VERDICT_TOKENS = 150, 100  # written in reply, without what a model thinks before


@dataclass(frozen=True)
class Estimate:
    """The most calls there will be, and about what they take. The price is None where it is not known."""

    answering: str
    judging: str
    spent: Spent


def estimate(evaluation: Evaluation, settings: Settings) -> Estimate:
    """Return what answering and judging the questions will take, now that their passages are found.

    Raises:
        SettingsError: if the settings name no model.
    """
    judge = judge_chain(settings).labels[0]
    judging = models(settings.model_copy(update={"models": judge}))[0]
    answering = models(settings)[0]
    answers = verdicts = Usage(0, 0)
    calls = 0
    for question in evaluation.judged.questions:
        passages = sum(map(len, evaluation.passages(question))) // CHARACTERS
        answers = _add(answers, passages + FRAME_TOKENS, ANSWER_TOKENS)
        verdicts = _add(verdicts, passages + FRAME_TOKENS, VERDICT_TOKENS)  # of the claims
        calls += 2
        if not question.unanswerable:  # of the answer, and of the passages
            verdicts = _add(verdicts, passages + 2 * FRAME_TOKENS, 2 * VERDICT_TOKENS)
            calls += 2
    price = _price(settings, (answering, answers), (judging, verdicts))
    read = (answers.input_tokens or 0) + (verdicts.input_tokens or 0)
    written = (answers.output_tokens or 0) + (verdicts.output_tokens or 0)
    return Estimate(answering.label, judging.label, Spent(calls, read, written, price))


def _add(usage: Usage, read: int, written: int) -> Usage:
    return Usage((usage.input_tokens or 0) + read, (usage.output_tokens or 0) + written)


def _price(settings: Settings, *uses: tuple[Model, Usage]) -> float | None:
    prices = Prices(settings.prices)
    known = [prices.price(model, usage) for model, usage in uses]
    return None if None in known else sum(price for price in known if price is not None)
