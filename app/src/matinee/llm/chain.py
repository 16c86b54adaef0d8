"""Models in the order they are asked: the next one answers where one cannot."""

import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from matinee.errors import MatineeError
from matinee.llm.breaker import Breaker
from matinee.llm.model import MAX_TOKENS, AnyModel, Limits, ModelError, Usage
from matinee.llm.prices import Prices
from matinee.llm.providers import models
from matinee.settings import Settings

BACK_OFF_SECONDS = 0.5  # before the only model is asked once more
SHORT_TOKENS = 1000  # of a short job, with what the model thinks before it
SHORT_SECONDS = 8.0
STOPPED = "Stopped before the answer was whole."


@dataclass(frozen=True)
class Writer:
    """Who wrote an answer, and what it took.

    Attributes:
        provider: the name of the provider.
        model: the provider's name of the model.
        input_tokens: as the API counted them, or None where it did not.
        output_tokens: likewise.
        price_usd: what the tokens cost, or None where that is not known.
        passed_over: the models before it that did not answer, each with its reason.
    """

    provider: str
    model: str
    input_tokens: int | None
    output_tokens: int | None
    price_usd: float | None
    passed_over: tuple[str, ...] = ()


class LanguageModelError(MatineeError):
    """No model gave an answer; the message says why, and never holds a key."""


class CutOffError(LanguageModelError):
    """The answer ended before it was whole: what came stands, and nobody else continues it."""

    def __init__(self, message: str, writer: Writer) -> None:
        super().__init__(message)
        self.writer = writer


class StoppedError(LanguageModelError):
    """The answer is not wanted any more; `writer` is who had begun to write it."""

    def __init__(self, writer: Writer | None = None) -> None:
        super().__init__(STOPPED)
        self.writer = writer


class Chain:
    """Asks models in order. Safe to use from several threads.

    Args:
        models: at least one.
        prices: of their tokens.
        limits: how long to wait, and when to leave a provider alone.
    """

    def __init__(self, models: Sequence[AnyModel], prices: Prices, limits: Limits | None = None) -> None:
        self._models = tuple(models)
        self._prices = prices
        self._limits = limits or Limits()
        self._breakers = {
            model.provider: Breaker(self._limits.failures, self._limits.pause) for model in self._models
        }

    @classmethod
    def from_settings(cls, settings: Settings, limits: Limits | None = None) -> "Chain | None":
        """Return the chain the settings describe, or None when there is no model to ask.

        Raises:
            SettingsError: if a setting cannot be used.
        """
        prices = Prices(settings.prices)
        found = models(settings)
        return cls(found, prices, limits) if found else None

    @property
    def labels(self) -> tuple[str, ...]:
        """The models in order, each as provider/model."""
        return tuple(model.label for model in self._models)

    def stream(
        self, instructions: str, request: str, stop: threading.Event | None = None
    ) -> Generator[str | Writer]:
        """Yield the answer part by part, and last who wrote it. Closing the iterator stops the model.

        Another model is asked only before the first word, and only when the error is the provider's alone.
        Once `stop` is set, no model is asked any more.

        Raises:
            LanguageModelError: if no model answers.
            CutOffError: if the answer breaks off after its first word.
            StoppedError: if it was stopped.
        """
        yield from self._stream(instructions, request, MAX_TOKENS, stop or threading.Event())

    def complete(
        self,
        instructions: str,
        request: str,
        *,
        tokens: int = SHORT_TOKENS,
        seconds: float = SHORT_SECONDS,
        stop: threading.Event | None = None,
    ) -> str:
        """Return a whole short text.

        Raises:
            LanguageModelError: if no model gives one in time, or it was stopped.
        """
        limits = replace(self._limits, first_token=seconds, between_tokens=seconds, total=seconds)
        parts = self._stream(instructions, request, tokens, stop or threading.Event(), limits)
        return "".join(part for part in parts if isinstance(part, str)).strip()

    def _stream(
        self,
        instructions: str,
        request: str,
        tokens: int,
        stop: threading.Event,
        limits: Limits | None = None,
    ) -> Generator[str | Writer]:
        """Ask the models, within the limits given or those of each."""
        errors: list[str] = []
        passed_over: list[str] = []
        for model in self._models:
            breaker = self._breakers[model.provider]
            if stop.is_set():
                raise StoppedError
            if not breaker.allows():
                errors.append(f"{model.label} failed several times in a row and is left alone for a while.")
                passed_over.append(f"{model.label}: left alone")
                continue
            own = self._limits.waiting(model.first_word)
            for last_try in (False, True):
                usage, written = Usage(), False
                try:
                    for part in model.stream(instructions, request, tokens, limits or own, stop):
                        if isinstance(part, Usage):
                            usage = usage.updated(part)
                        else:
                            written = True
                            yield part
                        if stop.is_set():
                            raise self._stopped(model, usage, passed_over, written)
                except ModelError as error:
                    if stop.is_set():  # which ends the connection
                        breaker.released()
                        raise self._stopped(model, usage, passed_over, written) from None
                    if error.retryable:
                        breaker.failed()
                    else:
                        breaker.released()
                    if written:
                        raise CutOffError(str(error), self._writer(model, usage, passed_over)) from None
                    if not error.retryable:  # a mistake in the settings, which a fallback would hide
                        raise LanguageModelError(" ".join([*errors, str(error)])) from None
                    wait = self._wait(error)
                    if last_try or wait is None:
                        errors.append(str(error))
                        passed_over.append(f"{model.label}: {error.reason}")
                        break
                    if stop.wait(wait):
                        raise StoppedError from None
                except BaseException:
                    breaker.released()
                    raise
                else:
                    breaker.succeeded()
                    yield self._writer(model, usage, passed_over)
                    return
        raise LanguageModelError(" ".join(dict.fromkeys(errors)))

    def _wait(self, error: ModelError) -> float | None:
        """Return the seconds after which the same model is asked once more; None: it is not."""
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self._limits.retry_after else None
        # without an alternative a passing fault is worth a second try, a time-out is not
        return BACK_OFF_SECONDS if len(self._models) == 1 and error.reason != "time-out" else None

    def _stopped(
        self, model: AnyModel, usage: Usage, passed_over: Sequence[str], written: bool
    ) -> StoppedError:
        return StoppedError(self._writer(model, usage, passed_over) if written else None)

    def _writer(self, model: AnyModel, usage: Usage, passed_over: Sequence[str]) -> Writer:
        price = self._prices.price(model, usage)
        return Writer(
            model.provider, model.name, usage.input_tokens, usage.output_tokens, price, tuple(passed_over)
        )
