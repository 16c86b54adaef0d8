"""Settings, each from one environment variable, or from `.env` in the folder the app is started in."""

import sys
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from matinee.errors import MatineeError

MEGABYTE = 1024 * 1024
SHIPPED_MODEL = Path(sys.prefix) / "share" / "matinee" / "model"


class SettingsError(MatineeError):
    """A setting has a value that cannot be used."""


class Settings(BaseSettings):
    """What a user can set. An empty variable counts as not set."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, frozen=True
    )

    data: Path = Field(default=Path(".data"), validation_alias="MATINEE_DATA")
    """Folder of the documents and their index. Several processes on one machine may use it at once."""

    documents: str | None = Field(default=None, validation_alias="MATINEE_DOCUMENTS")
    """Folder, `s3://bucket/prefix` or prebuilt index whose documents are taken in at the start."""

    model: Path = Field(default=SHIPPED_MODEL, validation_alias="MATINEE_MODEL")
    """Folder of the embedding model, as built by `model/build.py`."""

    embedding: str = Field(default="", validation_alias="MATINEE_EMBEDDING")
    """Embedding model of OpenAI's API to use instead, as openai/model; empty: the one on this machine."""

    reranker: str = Field(default="", validation_alias="MATINEE_RERANKER")
    """Folder of a cross-encoder or address of a rerank API which orders what was found; empty: none."""

    reranker_model: str = Field(default="", validation_alias="MATINEE_RERANKER_MODEL")
    """Name of the rerank API's model."""

    reranker_api_key: SecretStr | None = Field(default=None, validation_alias="RERANKER_API_KEY")
    """Key of the rerank API."""

    host: str = Field(default="127.0.0.1", validation_alias="MATINEE_HOST")
    """Address to listen on; 0.0.0.0 is every address of the machine, as in the container."""

    port: int = Field(default=8501, ge=1, le=65535, validation_alias="PORT")
    """Port to listen on."""

    max_upload_mb: int = Field(default=50, ge=1, le=1000, validation_alias="MATINEE_MAX_UPLOAD_MB")
    """Largest file that can be uploaded, in megabytes. An upload is held in memory."""

    threads: int = Field(default=0, ge=0, validation_alias="MATINEE_THREADS")
    """Threads for embedding; 0 means one for each processor core."""

    version: str = Field(default="development", validation_alias="MATINEE_VERSION")
    """Version shown on the page and at /version; the image sets it when it is built."""

    models: str = Field(default="", validation_alias="MATINEE_MODELS")
    """Models to ask, each as provider/model, in order; empty: one of each provider that has a key."""

    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    """Key of OpenAI's API. Without a key of any provider, answers are quotes from the documents."""

    anthropic_api_key: SecretStr | None = Field(default=None, validation_alias="ANTHROPIC_API_KEY")
    """Key of Anthropic's API."""

    gemini_api_key: SecretStr | None = Field(default=None, validation_alias="GEMINI_API_KEY")
    """Key of the Gemini API."""

    groq_api_key: SecretStr | None = Field(default=None, validation_alias="GROQ_API_KEY")
    """Key of Groq's API."""

    mistral_api_key: SecretStr | None = Field(default=None, validation_alias="MISTRAL_API_KEY")
    """Key of Mistral's API."""

    compatible_api_key: SecretStr | None = Field(default=None, validation_alias="COMPATIBLE_API_KEY")
    """Key of the API at `compatible_base_url`, if it wants one."""

    openai_model: str = Field(default="gpt-6-luna", validation_alias="OPENAI_MODEL")
    """OpenAI's model where `models` names none."""

    openai_base_url: str = Field(default="https://api.openai.com/v1", validation_alias="OPENAI_BASE_URL")
    """Address of OpenAI's API."""

    anthropic_base_url: str = Field(
        default="https://api.anthropic.com", validation_alias="ANTHROPIC_BASE_URL"
    )
    """Address of Anthropic's API."""

    gemini_base_url: str = Field(
        default="https://generativelanguage.googleapis.com/v1beta/openai", validation_alias="GEMINI_BASE_URL"
    )
    """Address at which the Gemini API speaks OpenAI's chat completions."""

    groq_base_url: str = Field(default="https://api.groq.com/openai/v1", validation_alias="GROQ_BASE_URL")
    """Address of Groq's API."""

    mistral_base_url: str = Field(default="https://api.mistral.ai/v1", validation_alias="MISTRAL_BASE_URL")
    """Address of Mistral's API."""

    ollama_base_url: str = Field(default="http://127.0.0.1:11434/v1", validation_alias="OLLAMA_BASE_URL")
    """Address of an Ollama."""

    compatible_base_url: str | None = Field(default=None, validation_alias="COMPATIBLE_BASE_URL")
    """Address of any other API that speaks OpenAI's chat completions."""

    prices: str = Field(default="", validation_alias="MATINEE_PRICES")
    """Prices of models the app does not know, or other ones: model=in/out, in dollars per million tokens."""

    first_word_seconds: float | None = Field(
        default=None, gt=0, le=3600, validation_alias="MATINEE_FIRST_WORD_SECONDS"
    )
    """Seconds to wait for the first word of an answer; empty: as long as the provider usually needs."""

    judge: str = Field(default="", validation_alias="MATINEE_JUDGE")
    """Model which judges answers in `matinee evaluate --judge`, as provider/model; empty: the first one."""

    def key(self, provider: str) -> str:
        """Return the key of a provider's API, or "" when there is none."""
        key: SecretStr | None = getattr(self, f"{provider}_api_key", None)
        return key.get_secret_value() if key else ""

    def base_url(self, provider: str) -> str | None:
        """Return the address of a provider's API."""
        address: str | None = getattr(self, f"{provider}_base_url")
        return address


def load_settings() -> Settings:
    """Read the settings.

    Raises:
        SettingsError: if a value cannot be used; the message names the variable, never its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise SettingsError("Settings that cannot be used: " + "; ".join(problems)) from None
