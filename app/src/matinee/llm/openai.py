"""Models behind any API that speaks OpenAI's chat completions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from matinee.llm.model import EventStream, Finish, Limits, Model, Usage

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.chat import ChatCompletionChunk

# the passages hold the answer: these think longer than that needs, unless told
_THINKING = re.compile(r"gpt-[5-9]")


@dataclass(frozen=True)
class OpenAIModel(Model["ChatCompletionChunk"]):
    """A model asked with OpenAI's SDK."""

    def _sdk(self) -> ModuleType:
        import openai

        return openai

    @cached_property
    def _client(self) -> "OpenAI":
        import openai

        return openai.OpenAI(api_key=self.key or "none", base_url=self.base_url, max_retries=0)

    def _open(
        self, instructions: str, request: str, max_tokens: int, limits: Limits
    ) -> "EventStream[ChatCompletionChunk]":
        import httpx2

        options: dict[str, Any] = {"max_tokens": max_tokens}
        if self.provider == "openai":
            options = {"max_completion_tokens": max_tokens}  # the only one its newer models take
            if _THINKING.match(self.name):
                options["reasoning_effort"] = "low"
        if self.provider != "mistral":  # it counts without being asked, and refuses to be asked
            options["stream_options"] = {"include_usage": True}
        return self._client.chat.completions.create(
            model=self.name,
            messages=[{"role": "system", "content": instructions}, {"role": "user", "content": request}],
            stream=True,
            timeout=httpx2.Timeout(limits.first_token, connect=limits.connect),
            **options,
        )

    def _read(self, event: "ChatCompletionChunk") -> Iterator[str | Usage | Finish]:
        if event.usage is not None:
            yield Usage(event.usage.prompt_tokens, event.usage.completion_tokens)
        for choice in (event.choices or [])[:1]:
            if choice.delta is not None and choice.delta.content:
                yield choice.delta.content
            if choice.finish_reason:
                yield Finish(choice.finish_reason)
