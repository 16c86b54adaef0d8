"""Turn text into vectors: on this machine's processor without a download, or by OpenAI's embeddings API."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from matinee.errors import MatineeError
from matinee.settings import SHIPPED_MODEL, Settings

if TYPE_CHECKING:
    import openai

BATCH = 8  # texts; as fast as any, and a question soon gets its turn while a large document is embedded
WINDOW_TOKENS = 256  # what the local model was trained with; more is cut off

OPENAI_DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
OPENAI_BATCH = 128  # texts a request; the API takes 2,048 and 300,000 tokens
RETRIES = 4  # by the SDK, which waits as long as the API asks
TIMEOUT_SECONDS = 30.0
STATUS_MEANING = {
    400: "did not accept the request; see that MATINEE_EMBEDDING and OPENAI_BASE_URL belong together",
    401: "did not accept the key; check OPENAI_API_KEY",
    403: "does not allow this key to use the model; check the key's rights",
    404: "does not know the model or the address; check MATINEE_EMBEDDING and OPENAI_BASE_URL",
    429: "is over its limit of requests or credit; wait a minute or check the account",
}

type Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]
type Vector = np.ndarray[tuple[int], np.dtype[np.float32]]


class EmbeddingError(MatineeError):
    """The embedding model cannot be used."""


class Embedder(Protocol):
    """Makes vectors of length 1, so that a dot product is the cosine. May be used from several threads."""

    name: str
    """Vectors of one name can be compared with each other."""
    dimensions: int
    token_counter: Tokenizer
    """Counts the tokens of a text; does not truncate."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per text.

        Raises:
            EmbeddingError: if there are none; the message says why, and never holds a key.
        """

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors]]:
        """Embed in batches: yields positions in `texts` and their vectors.

        Raises:
            EmbeddingError: as embed().
        """


def open_embedder(settings: Settings) -> Embedder:
    """Return the embedder which the settings name.

    Raises:
        EmbeddingError: if there is no such one.
    """
    if not settings.embedding:
        return LocalEmbedder(settings.model, settings.threads)
    named = re.fullmatch(r"openai/([^@]+)(?:@(\d+))?", settings.embedding)
    if not named:
        raise EmbeddingError(
            f"MATINEE_EMBEDDING is {settings.embedding!r}. Write openai/ and the name of a model, such as "
            "openai/text-embedding-3-small, or leave it empty for the model on this machine."
        )
    model, dimensions = named[1], int(named[2] or OPENAI_DIMENSIONS.get(named[1], 0))
    if not dimensions:
        raise EmbeddingError(
            f"MATINEE_EMBEDDING names {model}, whose vectors' length is not known here. "
            f"Add it, as in openai/{model}@768."
        )
    if settings.openai_api_key is None:
        raise EmbeddingError(
            "MATINEE_EMBEDDING wants OpenAI's API, whose key is missing. Set OPENAI_API_KEY."
        )
    key = settings.openai_api_key.get_secret_value()
    return OpenAIEmbedder(model, dimensions, key, settings.openai_base_url, settings.model)


class LocalEmbedder:
    """all-MiniLM-L6-v2, quantised to int8, on onnxruntime; or what another folder has in its place.

    Args:
        folder: where `model/build.py` put `model.onnx` and `tokenizer.json`.
        threads: threads to compute with; 0 means one for each core.

    Raises:
        EmbeddingError: if there is no model in the folder.
    """

    name = "all-MiniLM-L6-v2-int8"
    dimensions = 384

    def __init__(self, folder: Path, threads: int = 0) -> None:
        self.token_counter = _token_counter(folder)
        model = folder / "model.onnx"
        if not model.is_file():
            raise EmbeddingError(f"There is no embedding model in {folder}. Build it: python model/build.py")
        # the one that comes with the app is known by its place: to read it takes a tenth of a second
        if folder.resolve() != SHIPPED_MODEL.resolve() and (mark := _mark(folder)) != _mark(SHIPPED_MODEL):
            self.name = f"{self.name}-{mark}"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._tokenizer = _token_counter(folder)
        self._tokenizer.enable_truncation(WINDOW_TOKENS)
        self._tokenizer.enable_padding()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per text."""
        return _gathered(self, texts)

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors]]:
        """Embed in batches of texts of like length."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), BATCH):
            indices = order[start : start + BATCH]
            yield indices, self._embed_batch([texts[index] for index in indices])

    def _embed_batch(self, texts: list[str]) -> Vectors:
        encoded = self._tokenizer.encode_batch(texts)
        mask = np.array([item.attention_mask for item in encoded], np.int64)
        states = self._session.run(
            ["last_hidden_state"],
            {
                "input_ids": np.array([item.ids for item in encoded], np.int64),
                "attention_mask": mask,
                "token_type_ids": np.zeros_like(mask),
            },
        )[0]
        weights = mask[:, :, None].astype(np.float32)
        return _unit((states * weights).sum(axis=1) / weights.sum(axis=1))


class OpenAIEmbedder:
    """A model behind any API which speaks OpenAI's embeddings.

    Args:
        model: its name.
        dimensions: the length of its vectors.
        key: of the API.
        base_url: of the API.
        folder: of the local model, whose tokenizer measures passages.
    """

    def __init__(self, model: str, dimensions: int, key: str, base_url: str, folder: Path) -> None:
        self.name, self.dimensions = f"openai/{model}@{dimensions}", dimensions
        self.token_counter = _token_counter(folder)
        self._model, self._key, self._base_url = model, key, base_url
        self._made: openai.OpenAI | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector per text."""
        return _gathered(self, texts)

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors]]:
        """Embed in batches, in order."""
        for start in range(0, len(texts), OPENAI_BATCH):
            part = list(texts[start : start + OPENAI_BATCH])
            yield list(range(start, start + len(part))), self._embed_batch(part)

    def _embed_batch(self, texts: list[str]) -> Vectors:
        import httpx2  # which the SDK speaks HTTP with, and whose errors it does not always wrap
        import openai  # 1 s to import, which a start without this embedder should not pay

        try:
            reply = self._client().embeddings.create(model=self._model, input=texts, encoding_format="float")
        except openai.APIStatusError as error:
            meaning = STATUS_MEANING.get(error.status_code, "has a problem of its own; try again in a while")
            raise EmbeddingError(f"The embeddings API {meaning} (status {error.status_code}).") from None
        except openai.APITimeoutError:
            raise EmbeddingError(
                f"The embeddings API did not answer within {TIMEOUT_SECONDS:.0f} s. Try again in a while."
            ) from None
        except (openai.OpenAIError, httpx2.HTTPError, ValueError):
            raise EmbeddingError(
                "The embeddings API cannot be reached or gives no embeddings. "
                "Check the network and OPENAI_BASE_URL."
            ) from None
        vectors = [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]
        if [len(vector) for vector in vectors] != [self.dimensions] * len(texts):
            lengths = sorted({len(vector) for vector in vectors})
            raise EmbeddingError(
                f"The embeddings API gave {len(vectors)} vectors of length {lengths} for {len(texts)} texts; "
                f"{self._model} should give {self.dimensions} numbers for each. Check MATINEE_EMBEDDING."
            )
        return _unit(np.array(vectors, np.float32))

    def _client(self) -> "openai.OpenAI":
        import openai

        if self._made is None:
            self._made = openai.OpenAI(
                api_key=self._key, base_url=self._base_url, max_retries=RETRIES, timeout=TIMEOUT_SECONDS
            )
        return self._made


def _mark(folder: Path) -> str:
    """Return what tells a model from others: vectors of a model built otherwise are not comparable."""
    digest = hashlib.sha256()
    for path in (folder / "model.onnx", folder / "tokenizer.json"):
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _token_counter(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise EmbeddingError(f"There is no embedding model in {folder}. Build it: python model/build.py")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _gathered(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    vectors = np.empty((len(texts), embedder.dimensions), np.float32)
    for indices, batch in embedder.batches(texts):
        vectors[indices] = batch
    return vectors


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not lengths.all() or not np.isfinite(lengths).all():
        raise EmbeddingError(
            "The embedding model gave a vector without a direction. Check MATINEE_EMBEDDING."
        )
    unit: Vectors = (vectors / lengths).astype(np.float32, copy=False)
    return unit
