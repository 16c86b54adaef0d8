"""The providers there are, and the models the settings name."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from matinee.llm.anthropic import AnthropicModel
from matinee.llm.model import AnyModel
from matinee.llm.openai import OpenAIModel
from matinee.settings import Settings, SettingsError

LOCAL_SECONDS = 120.0  # for a model without a GPU to read the passages


@dataclass(frozen=True)
class Provider:
    """Who serves models.

    Attributes:
        name: as MATINEE_MODELS has it; its variables begin with it.
        default_model: the one asked when only a key is set; None: only named models are asked.
        needs_key: whether it answers only with a key.
        first_word: seconds to wait for its first word; None: the usual ones.
    """

    name: str
    default_model: str | None
    needs_key: bool = True
    first_word: float | None = None


# small and fast ones, current on 2026-11-21
PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider("openai", None),  # its default is a setting
        Provider("anthropic", "claude-haiku-5-5"),
        Provider("gemini", "gemini-3.5-flash-lite"),
        Provider("groq", "openai/gpt-oss-120b"),
        Provider("mistral", "mistral-small-latest"),
        Provider("ollama", None, needs_key=False, first_word=LOCAL_SECONDS),
        Provider("compatible", None, needs_key=False, first_word=LOCAL_SECONDS),
    )
}


def models(settings: Settings) -> list[AnyModel]:
    """Return the models to ask, in order: those of MATINEE_MODELS, or one of each provider with a key.

    Raises:
        SettingsError: if a setting cannot be used; the message says which and what to write.
    """
    if settings.models.strip():
        return [_named(entry.strip(), settings) for entry in settings.models.split(",") if entry.strip()]
    found = []
    for provider in PROVIDERS.values():
        model = settings.openai_model if provider.name == "openai" else provider.default_model
        if model and settings.key(provider.name):
            found.append(_model(provider, model, settings))
    return found


def _named(entry: str, settings: Settings) -> AnyModel:
    name, _, model = entry.partition("/")
    provider = PROVIDERS.get(name.lower())
    if provider is None or not model:
        raise SettingsError(
            f"MATINEE_MODELS has {entry!r}. Write provider/model, such as openai/gpt-6-luna; "
            f"providers are {', '.join(PROVIDERS)}."
        )
    return _model(provider, model, settings)


def _model(provider: Provider, model: str, settings: Settings) -> AnyModel:
    prefix = provider.name.upper()
    key = settings.key(provider.name)
    if provider.needs_key and not key:
        raise SettingsError(f"MATINEE_MODELS names {provider.name}, which needs {prefix}_API_KEY.")
    base_url = settings.base_url(provider.name)
    if base_url is None:
        raise SettingsError(f"MATINEE_MODELS names {provider.name}, which needs {prefix}_BASE_URL.")
    address = urlsplit(base_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise SettingsError(f"{prefix}_BASE_URL is not an address. Write one that begins with https://")
    kind = AnthropicModel if provider.name == "anthropic" else OpenAIModel
    listed = base_url == Settings.model_fields[f"{provider.name}_base_url"].default
    first_word = settings.first_word_seconds or provider.first_word
    return kind(provider.name, model, base_url, key, listed, first_word)
