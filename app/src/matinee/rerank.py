"""Order passages again by reading each with the question: with a cross-encoder here, or by an API."""

import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np

from matinee.errors import MatineeError
from matinee.settings import Settings

WINDOW_TOKENS = 512  # of question and passage together; more of the passage is cut off
TIMEOUT_SECONDS = 5.0  # the order without a reranker is good, too
FAILURES, PAUSE_SECONDS = 3, 60.0  # after so many in a row, an API is left alone for a while

STATUS_MEANING = {
    400: "did not accept the request; check MATINEE_RERANKER_MODEL",
    401: "did not accept the key; check RERANKER_API_KEY",
    403: "does not allow this key to use the model",
    404: "does not know the model or the address; check MATINEE_RERANKER and MATINEE_RERANKER_MODEL",
    429: "is over its limit of requests or credit",
}


class RerankError(MatineeError):
    """Passages cannot be ordered again; the message says why, and never holds the key."""


class Reranker(Protocol):
    """Judges how well passages answer a question. May be used from several threads."""

    name: str

    def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return a score from 0 to 1 for each text.

        Raises:
            RerankError: if there are none.
        """


def open_reranker(settings: Settings) -> Reranker | None:
    """Return the reranker which the settings name, if they name one.

    Raises:
        RerankError: if it cannot be used.
    """
    if not settings.reranker:
        return None
    if settings.reranker.startswith(("http://", "https://")):
        key = settings.reranker_api_key.get_secret_value() if settings.reranker_api_key else ""
        return RemoteReranker(settings.reranker, settings.reranker_model, key)
    return LocalReranker(Path(settings.reranker), settings.threads)


class LocalReranker:
    """A cross-encoder on onnxruntime.

    Args:
        folder: with `model.onnx`, whose output is a logit, or one against and one for; and `tokenizer.json`.
        threads: threads to compute with; 0 means one for each core.

    Raises:
        RerankError: if there is no such model in the folder.
    """

    def __init__(self, folder: Path, threads: int = 0) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self.name = folder.name
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._session = onnxruntime.InferenceSession(
                folder / "model.onnx", options, providers=["CPUExecutionProvider"]
            )
        except Exception:  # both libraries raise what they like
            raise RerankError(
                f"There is no cross-encoder in {folder}: it needs model.onnx and tokenizer.json. "
                "Correct MATINEE_RERANKER, or leave it empty."
            ) from None
        self._tokenizer.enable_truncation(WINDOW_TOKENS, strategy="only_second")
        self._tokenizer.enable_padding()
        self._inputs = [item.name for item in self._session.get_inputs()]

    def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return a score from 0 to 1 for each text."""
        try:
            encoded = self._tokenizer.encode_batch([(question, text) for text in texts])
            known = {
                "input_ids": [item.ids for item in encoded],
                "attention_mask": [item.attention_mask for item in encoded],
                "token_type_ids": [item.type_ids for item in encoded],
            }
            feed = {name: np.array(known[name], np.int64) for name in self._inputs}
            logits = np.asarray(self._session.run(None, feed)[0], np.float64).reshape(len(texts), -1)
        except Exception as error:  # such as inputs of another name, or a question that fills the window
            raise RerankError(f"The cross-encoder {self.name} failed: {error}") from None
        margin = logits[:, -1] - (logits[:, 0] if logits.shape[1] > 1 else 0.0)
        if not np.isfinite(margin).all():
            raise RerankError(f"The cross-encoder {self.name} gave scores that are no numbers.")
        scores: list[float] = (0.5 * (1 + np.tanh(margin / 2))).tolist()  # the sigmoid, without overflow
        return scores


class RemoteReranker:
    """A rerank API in the shape that Cohere, Jina and Voyage share.

    Args:
        url: of the API's rerank call.
        model: its name there.
        key: of the API; empty if it wants none.
    """

    def __init__(self, url: str, model: str, key: str) -> None:
        self.name = model or urlsplit(url).hostname or "rerank API"
        self._url, self._model = url, model
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._counting = threading.Lock()
        self._failures, self._paused_until = 0, 0.0

    def rerank(self, question: str, texts: Sequence[str]) -> list[float]:
        """Return a score from 0 to 1 for each text."""
        if time.monotonic() < self._paused_until:
            raise RerankError(f"{self.name} failed {FAILURES} times in a row and is left alone for a minute.")
        try:
            scores = self._ask(question, texts)
        except RerankError:
            with self._counting:
                self._failures += 1
                if self._failures >= FAILURES:
                    self._failures, self._paused_until = 0, time.monotonic() + PAUSE_SECONDS
            raise
        self._failures = 0
        return scores

    def _ask(self, question: str, texts: Sequence[str]) -> list[float]:
        import httpx2

        request = {"query": question, "documents": list(texts)} | (
            {"model": self._model} if self._model else {}
        )
        try:
            response = httpx2.post(
                self._url,
                json=request,
                headers=self._headers,
                timeout=TIMEOUT_SECONDS,
                follow_redirects=False,
            )
        except httpx2.TimeoutException:
            raise RerankError(f"{self.name} did not answer within {TIMEOUT_SECONDS:.0f} s.") from None
        except (httpx2.HTTPError, httpx2.InvalidURL):
            raise RerankError(f"{self.name} cannot be reached.") from None
        if not response.is_success:
            meaning = STATUS_MEANING.get(response.status_code, "has a problem of its own")
            raise RerankError(f"{self.name} {meaning} (status {response.status_code}).")
        try:
            reply = response.json()
            results = reply["results"] if "results" in reply else reply["data"]  # Voyage's word
            scores = {int(item["index"]): float(item["relevance_score"]) for item in results}
            ordered = [scores[index] for index in range(len(texts))]
        except (ValueError, KeyError, TypeError):
            raise RerankError(f"{self.name} gave no score for each passage.") from None
        if not all(math.isfinite(score) for score in ordered):
            raise RerankError(f"{self.name} gave scores that are no numbers.")
        return ordered
