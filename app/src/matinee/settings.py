"""Settings, each from one environment variable, or from `.env` in the folder the app is started in."""

import sys
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from matinee.errors import MatineeError

MEGABYTE = 1024 * 1024


class SettingsError(MatineeError):
    """A setting has a value that cannot be used."""


class Settings(BaseSettings):
    """What a user can set. An empty variable counts as not set."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, frozen=True
    )

    data: Path = Field(default=Path(".data"), validation_alias="MATINEE_DATA")
    """Folder of the documents and their index. One process owns it at a time."""

    model: Path = Field(
        default=Path(sys.prefix) / "share" / "matinee" / "model", validation_alias="MATINEE_MODEL"
    )
    """Folder of the embedding model, as built by `model/build.py`."""

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

    openai_api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    """Key of the model's API. Without it answers are extracts from the documents."""

    openai_base_url: str = Field(default="https://api.openai.com/v1", validation_alias="OPENAI_BASE_URL")
    """Address of any API that speaks OpenAI's chat completions."""

    openai_model: str = Field(default="gpt-4o-mini", validation_alias="OPENAI_MODEL")
    """Name of the model to ask."""


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
