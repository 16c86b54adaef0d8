"""One model behind an API: what it is asked, what it sends, and how its errors read."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import urlsplit

from matinee.errors import MatineeError
from matinee.llm.watchdog import Watchdog

if TYPE_CHECKING:
    import httpx2

MAX_TOKENS = 4000  # of an answer, with what the model thinks before it
RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
CUT_BY_LENGTH = frozenset({"length", "max_tokens", "model_context_window_exceeded"})
HELD_BACK = frozenset({"content_filter", "refusal"})
TOOL_CALLED = frozenset({"tool_calls", "tool_use", "function_call"})


@dataclass(frozen=True)
class Limits:
    """How long to wait, in seconds, and when to leave a provider alone."""

    connect: float = 5.0
    first_token: float = 30.0
    between_tokens: float = 20.0
    total: float = 180.0
    retry_after: float = 4.0  # the longest wait a provider may ask for
    failures: int = 3  # in a row, after which it is not asked
    pause: float = 30.0  # for this long

    def waiting(self, first_token: float | None) -> "Limits":
        """Return the limits with another one for the first word, and as long for the rest; None: the same."""
        if first_token is None:
            return self
        return replace(self, first_token=first_token, total=self.total - self.first_token + first_token)


@dataclass(frozen=True)
class Usage:
    """What the API counted; None where it has not said yet."""

    input_tokens: int | None = None
    output_tokens: int | None = None

    def updated(self, later: "Usage") -> "Usage":
        """Return the counts with those of a later report over them."""
        return Usage(
            self.input_tokens if later.input_tokens is None else later.input_tokens,
            self.output_tokens if later.output_tokens is None else later.output_tokens,
        )


@dataclass(frozen=True)
class Turn:
    """An earlier exchange of the conversation, as plain text."""

    question: str
    answer: str


@dataclass(frozen=True)
class Finish:
    """Why the model stopped writing, in the API's word."""

    reason: str


class EventStream[Event](Protocol):
    """What both SDKs call a stream."""

    @property
    def response(self) -> "httpx2.Response": ...  # noqa: D102

    def __iter__(self) -> Iterator[Event]: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class ModelError(MatineeError):
    """A model gave no whole answer.

    Attributes:
        reason: the error in two or three words.
        retryable: whether it may pass, or another provider may answer.
        retry_after: the seconds the provider asks to be left alone, if it says.
    """

    def __init__(
        self, message: str, reason: str, *, retryable: bool, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable
        self.retry_after = retry_after


@dataclass(frozen=True)
class Model[Event](ABC):
    """A model of a provider.

    Attributes:
        provider: the name of the provider, such as "openai".
        name: the provider's name of the model.
        base_url: the address of the API.
        key: the key of the API, in no text this object gives.
        listed: whether it is at the provider's own address, where the provider's prices hold.
        first_word: seconds to wait for its first word; None: the usual ones.
    """

    provider: str
    name: str
    base_url: str
    key: str = field(repr=False)
    listed: bool = True
    first_word: float | None = None

    @property
    def label(self) -> str:
        """The model as MATINEE_MODELS names it."""
        return f"{self.provider}/{self.name}"

    @property
    def host(self) -> str:
        """The host that is asked."""
        return urlsplit(self.base_url).hostname or self.provider

    @abstractmethod
    def _sdk(self) -> ModuleType:
        """Import the SDK, which takes a second that a start without a question should not pay."""

    @abstractmethod
    def _open(self, instructions: str, request: str, max_tokens: int, limits: Limits) -> EventStream[Event]:
        """Send the request; returns the SDK's stream once the API answers."""

    @abstractmethod
    def _read(self, event: Event) -> Iterator[str | Usage | Finish]:
        """Translate one event of the SDK's stream."""

    def stream(
        self, instructions: str, request: str, max_tokens: int, limits: Limits, stop: threading.Event
    ) -> Iterator[str | Usage]:
        """Yield the answer part by part, and the tokens counted. Closing the iterator closes the connection.

        So does setting `stop`, which another thread can do while a part is waited for.

        Raises:
            ModelError: if there is no answer, or it broke off.
        """
        import httpx2  # what both SDKs speak HTTP with, whose errors they do not always wrap

        sdk = self._sdk()
        started = time.monotonic()
        finish, written, watchdog = None, False, None
        try:
            with self._open(instructions, request, max_tokens, limits) as events:
                first, last = started + limits.first_token, started + limits.total
                watchdog = Watchdog(events.response, first, last, stop)
                with watchdog:
                    for event in events:
                        for item in self._read(event):
                            if isinstance(item, Finish):
                                finish = item.reason
                                continue
                            written = written or isinstance(item, str)
                            watchdog.rest()
                            yield item
                            watchdog.expect(limits.between_tokens if written else None)
        except (sdk.APIError, httpx2.HTTPError, ValueError) as error:  # ValueError: a part that is not JSON
            if watchdog is not None and watchdog.expired:
                raise self._late(written, limits) from None
            raise self._explain(error, written, limits) from None
        if watchdog.expired:
            raise self._late(written, limits)
        self._check(finish, written, max_tokens)

    def _check(self, finish: str | None, written: bool, max_tokens: int) -> None:
        """Raise if the answer is not a whole one; the SDKs take a stream that ends early for whole."""
        if finish is None:
            raise ModelError(f"The answer of {self.label} broke off.", "broke off", retryable=True)
        if finish in CUT_BY_LENGTH:
            raise ModelError(
                f"The answer of {self.label} was longer than {max_tokens} tokens and was cut.",
                "too long",
                retryable=False,
            )
        if finish in HELD_BACK:
            raise ModelError(
                f"{self.host} held the answer back by its content filter.", "content filter", retryable=False
            )
        if finish in TOOL_CALLED:
            raise ModelError(
                f"{self.label} called a tool instead of answering; no tool was offered. Try another model.",
                "tool call",
                retryable=False,
            )
        if not written:
            raise ModelError(f"{self.label} sent an empty answer.", "empty answer", retryable=False)

    def _late(self, written: bool, limits: Limits) -> ModelError:
        if written:
            message = f"{self.label} fell silent in the middle of its answer."
        else:
            seconds = f"{limits.first_token:g} s; see MATINEE_FIRST_WORD_SECONDS"
            message = f"{self.host} did not answer within {seconds}."
        return ModelError(message, "time-out", retryable=True)

    def _explain(self, error: Exception, written: bool, limits: Limits) -> ModelError:
        import httpx2

        sdk = self._sdk()
        if isinstance(error, sdk.APIStatusError) and error.status_code >= 400:
            return self._status(error.status_code, _retry_after(error.response.headers))
        if isinstance(error, sdk.APITimeoutError | httpx2.TimeoutException):
            return self._late(written, limits)
        if isinstance(error, sdk.APIConnectionError | httpx2.TransportError):
            if written:
                message = f"The connection to {self.host} broke in the middle of the answer."
            else:
                message = f"There is no connection to {self.host}; check {self.provider.upper()}_BASE_URL."
            return ModelError(message, "no connection", retryable=True)
        # an error told inside the stream, or a part that cannot be read
        return ModelError(
            f"{self.host} sent something that is not an answer.", "broken answer", retryable=True
        )

    def _status(self, status: int, retry_after: float | None) -> ModelError:
        prefix = self.provider.upper()
        meaning = {
            400: f"did not accept the request; see that the model and {prefix}_BASE_URL belong together",
            401: f"did not accept the key; check {prefix}_API_KEY",
            402: "wants the account to be paid; check its credit",
            403: "does not allow this key to use the model; check the key's rights",
            404: f"does not know {self.name} or the address; check MATINEE_MODELS and {prefix}_BASE_URL",
            413: "did not accept a request of this size; ask about fewer or shorter documents",
            422: f"did not accept the request; see that the model and {prefix}_BASE_URL belong together",
            429: "is over its limit of requests or credit; wait a minute or check the account",
        }.get(status, "has a problem of its own; try again in a while")
        retryable = status in RETRYABLE or status >= 500
        return ModelError(
            f"{self.host} {meaning} (status {status}).",
            f"status {status}",
            retryable=retryable,
            retry_after=retry_after,
        )


type AnyModel = Model[Any]


def _retry_after(headers: "httpx2.Headers") -> float | None:
    """Return the seconds to wait; a date, which the header may hold too, counts as a long time."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * scale)
        except ValueError:
            return float("inf")
    return None
