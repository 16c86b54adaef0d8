"""What a model's tokens cost, in US dollars, at its provider's own address."""

import re
from collections.abc import Mapping

from matinee.llm.model import AnyModel, Usage
from matinee.settings import SettingsError

MILLION = 1_000_000

# US dollars per million tokens read and written, as of 2026-11-21, for prompts below 100,000 tokens.
# OpenAI: developers.openai.com/api/docs/pricing. Anthropic: platform.claude.com/docs, "Models".
# Gemini: ai.google.dev/gemini-api/docs/pricing. Groq: console.groq.com/docs/models.
PRICES: dict[str, tuple[float, float]] = {
    "openai/gpt-6-luna": (0.10, 0.50),
    "openai/gpt-6-sol": (2.00, 10.00),
    "openai/gpt-5.6-luna": (0.20, 1.20),
    "openai/gpt-5.4-mini": (0.75, 4.50),
    "openai/gpt-5.4-nano": (0.20, 1.25),
    "openai/gpt-4.1": (2.00, 8.00),
    "openai/gpt-4.1-mini": (0.40, 1.60),
    "openai/gpt-4o": (2.50, 10.00),
    "openai/gpt-4o-mini": (0.15, 0.60),
    "anthropic/claude-haiku-5-5": (0.10, 0.50),
    "anthropic/claude-haiku-4-5": (1.00, 5.00),
    "anthropic/claude-sonnet-5-5": (2.00, 10.00),
    "anthropic/claude-opus-5-5": (4.00, 20.00),
    "gemini/gemini-3.5-flash-lite": (0.30, 2.50),
    "groq/openai/gpt-oss-120b": (0.15, 0.60),
}

_SNAPSHOT = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2})$")  # a dated version costs what its model costs


class Prices:
    """Knows the prices, those of MATINEE_PRICES before its own.

    Args:
        setting: "model=in/out, …" in dollars per million tokens; the model with its provider.

    Raises:
        SettingsError: if the setting cannot be read.
    """

    def __init__(self, setting: str = "") -> None:
        self._own: Mapping[str, tuple[float, float]] = dict(
            _parse(entry) for entry in setting.split(",") if entry.strip()
        )

    def price(self, model: AnyModel, usage: Usage) -> float | None:
        """Return what an answer cost, or None when the price or the count is not known."""
        rates = self._own.get(model.label)
        if rates is None and model.listed:
            rates = PRICES.get(_SNAPSHOT.sub("", model.label))
        if rates is None or usage.input_tokens is None or usage.output_tokens is None:
            return None
        return (usage.input_tokens * rates[0] + usage.output_tokens * rates[1]) / MILLION


def _parse(entry: str) -> tuple[str, tuple[float, float]]:
    label, _, rates = entry.partition("=")
    read, _, written = rates.partition("/")
    try:
        prices = float(read), float(written)
    except ValueError:
        prices = -1.0, -1.0
    if not label.strip() or not all(0 <= price < float("inf") for price in prices):
        raise SettingsError(
            f"MATINEE_PRICES has {entry.strip()!r}. Write a model with its dollars per million tokens "
            "read and written, such as openai/gpt-6-luna=0.10/0.50"
        )
    return label.strip(), prices
