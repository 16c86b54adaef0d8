"""Turn text into vectors with all-MiniLM-L6-v2, on this machine's processor and without a download."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from matinee.errors import MatineeError

BATCH = 16  # texts; small enough for a question to get its turn while a large document is embedded
WINDOW_TOKENS = 256  # what the model was trained with; more is cut off

type Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]
type Vector = np.ndarray[tuple[int], np.dtype[np.float32]]


class EmbeddingError(MatineeError):
    """The embedding model cannot be used."""


class Embedder:
    """all-MiniLM-L6-v2, quantised to int8, on onnxruntime. May be used from several threads.

    Args:
        folder: where `model/build.py` put `model.onnx` and `tokenizer.json`.
        threads: threads to compute with; 0 means one for each core.

    Raises:
        EmbeddingError: if there is no model in the folder.
    """

    name = "all-MiniLM-L6-v2-int8"
    dimensions = 384

    def __init__(self, folder: Path, threads: int = 0) -> None:
        model, tokenizer = folder / "model.onnx", folder / "tokenizer.json"
        if not model.is_file() or not tokenizer.is_file():
            raise EmbeddingError(f"There is no embedding model in {folder}. Build it: python model/build.py")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(WINDOW_TOKENS)
        self._tokenizer.enable_padding()
        self.token_counter = Tokenizer.from_file(str(tokenizer))
        self.token_counter.no_truncation()
        self.token_counter.no_padding()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one vector of length 1 per text, so that a dot product is the cosine."""
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for indices, batch in self.batches(texts):
            vectors[indices] = batch
        return vectors

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors]]:
        """Embed in batches of texts of like length: yields positions in `texts` and their vectors."""
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
        means = (states * weights).sum(axis=1) / weights.sum(axis=1)
        return means / np.linalg.norm(means, axis=1, keepdims=True)
