"""Ask a language model over any API that speaks OpenAI's chat completions."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from matinee.errors import MatineeError
from matinee.settings import Settings

if TYPE_CHECKING:
    import openai

RETRIES = 1  # by the SDK, which waits as long as the API asks
TIMEOUT_SECONDS = 30.0  # to connect, and between two parts of the answer
MAX_TOKENS = 1000

STATUS_MEANING = {
    400: "did not accept the request; see that OPENAI_MODEL and OPENAI_BASE_URL belong together",
    401: "did not accept the key; check OPENAI_API_KEY",
    403: "does not allow this key to use the model; check the key's rights",
    404: "does not know the model or the address; check OPENAI_MODEL and OPENAI_BASE_URL",
    429: "is over its limit of requests or credit; wait a minute or check the account",
}


class LanguageModelError(MatineeError):
    """The model gave no whole answer; the message says why, and never holds the key."""


class LanguageModel:
    """A model behind an API.

    Args:
        settings: with a key.
    """

    def __init__(self, settings: Settings) -> None:
        if settings.openai_api_key is None:
            raise ValueError("OPENAI_API_KEY is not set")
        self._settings = settings
        self._client: openai.OpenAI | None = None
        self.name = settings.openai_model
        self.host = urlsplit(settings.openai_base_url).hostname or "the API"

    def stream(self, instructions: str, request: str) -> Iterator[str]:
        """Yield the answer part by part.

        Raises:
            LanguageModelError: if there is no answer, or it broke off.
        """
        import openai  # 1 s to import, which a start without a key should not pay

        try:
            yield from self._stream(instructions, request)
        except openai.APIStatusError as error:
            meaning = STATUS_MEANING.get(error.status_code, "has a problem of its own; try again in a while")
            raise LanguageModelError(f"{self.host} {meaning} (status {error.status_code}).") from None
        except openai.APITimeoutError:
            raise LanguageModelError(f"{self.host} did not answer within {TIMEOUT_SECONDS:.0f} s.") from None
        except openai.APIConnectionError:
            raise LanguageModelError(
                f"There is no connection to {self.host}; check OPENAI_BASE_URL."
            ) from None
        except (openai.OpenAIError, ValueError):  # ValueError: a part that is not JSON
            raise LanguageModelError(f"{self.host} sent something that is not an answer.") from None

    def _stream(self, instructions: str, request: str) -> Iterator[str]:
        stream = self._connect().chat.completions.create(
            model=self.name,
            messages=[{"role": "system", "content": instructions}, {"role": "user", "content": request}],
            max_completion_tokens=MAX_TOKENS,
            stream=True,
        )
        finish_reason = None
        with stream:
            for chunk in stream:
                for choice in chunk.choices[:1]:
                    finish_reason = choice.finish_reason or finish_reason
                    if choice.delta.content:
                        yield choice.delta.content
        # the SDK takes a stream that ends early for a whole one
        if finish_reason is None:
            raise LanguageModelError(f"The answer from {self.host} broke off.")
        if finish_reason == "length":
            raise LanguageModelError(
                f"The answer of {self.name} was longer than {MAX_TOKENS} tokens and was cut."
            )
        if finish_reason == "content_filter":
            raise LanguageModelError(f"{self.host} held the answer back by its content filter.")

    def _connect(self) -> "openai.OpenAI":
        import openai

        key = self._settings.openai_api_key
        if self._client is None and key is not None:
            self._client = openai.OpenAI(
                api_key=key.get_secret_value(),
                base_url=self._settings.openai_base_url,
                max_retries=RETRIES,
                timeout=TIMEOUT_SECONDS,
            )
        assert self._client is not None  # noqa: S101 (the constructor made sure of the key)
        return self._client
