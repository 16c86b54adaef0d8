"""Models behind Anthropic's API."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING

from matinee.llm.model import EventStream, Finish, Limits, Model, Usage

if TYPE_CHECKING:
    from anthropic import Anthropic
    from anthropic.types import RawMessageStreamEvent


@dataclass(frozen=True)
class AnthropicModel(Model["RawMessageStreamEvent"]):
    """A model asked with Anthropic's SDK."""

    def _sdk(self) -> ModuleType:
        import anthropic

        return anthropic

    @cached_property
    def _client(self) -> "Anthropic":
        import anthropic

        return anthropic.Anthropic(api_key=self.key, base_url=self.base_url, max_retries=0)

    def _open(
        self, instructions: str, request: str, max_tokens: int, limits: Limits
    ) -> "EventStream[RawMessageStreamEvent]":
        import httpx2

        return self._client.messages.create(
            model=self.name,
            system=instructions,
            messages=[{"role": "user", "content": request}],
            max_tokens=max_tokens,
            stream=True,
            timeout=httpx2.Timeout(limits.first_token, connect=limits.connect),
        )

    def _read(self, event: "RawMessageStreamEvent") -> Iterator[str | Usage | Finish]:
        if event.type == "message_start":
            yield Usage(input_tokens=event.message.usage.input_tokens)
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            if event.delta.text:
                yield event.delta.text
        elif event.type == "message_delta":
            yield Usage(output_tokens=event.usage.output_tokens)
            if event.delta.stop_reason:
                yield Finish(event.delta.stop_reason)
