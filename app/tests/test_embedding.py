"""Vectors, made on this machine or by an API."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import OpenEngine, wait_for_index
from files import HARBOUR, LIGHTHOUSE
from llmock.pytest_plugin import LLMock

from matinee.embedding import Embedder, EmbeddingError, open_embedder
from matinee.settings import SHIPPED_MODEL, Settings

SMALL = "openai/text-embedding-3-small"
KEY = "sk-secret-of-the-tests"


@pytest.fixture
def local() -> Embedder:
    return open_embedder(Settings())


@pytest.fixture
def remote(llmock: LLMock) -> Embedder:
    return open_embedder(openai_settings(llmock))


def openai_settings(llmock: LLMock, embedding: str = SMALL) -> Settings:
    return Settings.model_validate(
        {
            "MATINEE_EMBEDDING": embedding,
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": llmock.base_url("openai"),
        }
    )


def test_a_vector_does_not_depend_on_what_it_is_batched_with(local: Embedder) -> None:
    texts = [f"{HARBOUR} {LIGHTHOUSE * (number % 5)} Number {number}." for number in range(40)]
    together = local.embed(texts)
    alone = np.concatenate([local.embed([text]) for text in texts])
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert ((together * alone).sum(axis=1) > 0.98).all()  # int8 rounds by the batch


def test_batches_cover_every_text_once(local: Embedder, remote: Embedder) -> None:
    texts = [f"{'word ' * (300 - number)} {number}" for number in range(300)]
    for embedder in (local, remote):
        parts = list(embedder.batches(texts[:50] if embedder is local else texts))
        positions = [position for indices, _ in parts for position in indices]
        assert len(parts) > 1
        assert sorted(positions) == list(range(len(positions)))
        assert all(vectors.shape == (len(indices), embedder.dimensions) for indices, vectors in parts)


def test_no_texts_have_no_vectors(local: Embedder, remote: Embedder, llmock: LLMock) -> None:
    assert local.embed([]).shape == (0, 384)
    assert remote.embed([]).shape == (0, 1536)
    assert not llmock.requests


def test_vectors_of_openai_have_the_length_that_was_known_before(remote: Embedder) -> None:
    assert remote.name == "openai/text-embedding-3-small@1536"
    vectors = remote.embed([HARBOUR, LIGHTHOUSE, HARBOUR])
    assert vectors.shape == (3, remote.dimensions)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[0], vectors[2])
    assert not np.allclose(vectors[0], vectors[1])


def test_openai_is_asked_again_when_it_asks_to_wait(remote: Embedder, llmock: LLMock) -> None:
    llmock.fail(429, retry_after=0.1)
    assert remote.embed([HARBOUR]).shape == (1, 1536)
    assert len(llmock.requests) == 2


def test_a_refused_key_is_an_error_in_words_without_the_key(remote: Embedder, llmock: LLMock) -> None:
    llmock.fail(401)
    with pytest.raises(EmbeddingError, match="check OPENAI_API_KEY") as error:
        remote.embed([HARBOUR])
    assert KEY not in str(error.value)


def test_vectors_of_another_length_are_refused(llmock: LLMock) -> None:
    embedder = open_embedder(openai_settings(llmock, "openai/nomic-embed-text@768"))
    with pytest.raises(EmbeddingError, match="should give 768 numbers"):
        embedder.embed([HARBOUR])


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"MATINEE_EMBEDDING": "cohere/embed-v4"}, "Write openai/"),
        ({"MATINEE_EMBEDDING": "openai/nomic-embed-text", "OPENAI_API_KEY": KEY}, "nomic-embed-text@768"),
        ({"MATINEE_EMBEDDING": SMALL}, "Set OPENAI_API_KEY"),
        ({"MATINEE_MODEL": "elsewhere"}, r"python model/build\.py"),
    ],
)
def test_a_setting_that_cannot_be_used_says_what_to_do(variables: dict[str, str], message: str) -> None:
    with pytest.raises(EmbeddingError, match=message):
        open_embedder(Settings.model_validate(variables))


def test_documents_are_found_by_another_embedding_model_after_a_change(
    open_engine: OpenEngine, llmock: LLMock, tmp_path: Path
) -> None:
    first = open_engine()
    first.add("harbour.txt", HARBOUR.encode())
    wait_for_index(first.health)
    first.close()
    settings = openai_settings(llmock)
    engine = open_engine(
        MATINEE_EMBEDDING=SMALL, OPENAI_API_KEY=KEY, OPENAI_BASE_URL=settings.openai_base_url
    )
    wait_for_index(engine.health)
    workspace = engine.workspace("visitor")
    [hit] = engine.retriever.search("When was the harbour dredged?", workspace.scope()).hits
    assert "1874" in hit.passage.text


def test_a_rebuilt_model_makes_its_own_vectors(open_engine: OpenEngine, tmp_path: Path) -> None:
    first = open_engine()
    first.add("harbour.txt", HARBOUR.encode())
    first.close()
    copied, rebuilt, again = (shutil.copytree(SHIPPED_MODEL, tmp_path / name) for name in "abc")
    model = onnx.load(SHIPPED_MODEL / "model.onnx")
    [scale] = [item for item in model.graph.initializer if item.name == "embeddings.LayerNorm.weight"]
    scale.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(scale)[::-1].copy(), scale.name))
    for folder in (rebuilt, again):
        onnx.save(model, folder / "model.onnx")

    same = open_engine(MATINEE_MODEL=str(copied))
    assert same.embedder.name == first.embedder.name == "all-MiniLM-L6-v2-int8"
    assert len(same.truth.vector_ids()) == 1
    same.close()
    engine = open_engine(MATINEE_MODEL=str(rebuilt))
    name = engine.embedder.name
    assert name.startswith("all-MiniLM-L6-v2-int8-")
    assert name == open_embedder(Settings.model_validate({"MATINEE_MODEL": again})).name
    wait_for_index(engine.health)
    _, vectors = engine.truth.vectors()
    assert np.allclose(vectors, engine.embedder.embed([HARBOUR]), atol=1e-3)


def test_words_alone_find_passages_while_an_embedding_model_is_down(
    open_engine: OpenEngine, llmock: LLMock
) -> None:
    base_url = openai_settings(llmock).openai_base_url
    engine = open_engine(MATINEE_EMBEDDING=SMALL, OPENAI_API_KEY=KEY, OPENAI_BASE_URL=base_url)
    engine.add("harbour.txt", HARBOUR.encode())
    engine.add("lighthouse.txt", LIGHTHOUSE.encode())
    llmock.fail(401, times=None)
    found = engine.retriever.search("When was the harbour dredged?", engine.workspace("visitor").scope())
    assert found.hits[0].passage.document_name == "harbour.txt"
    assert "Searching by words alone" in found.trace.steps[0].detail
    assert KEY not in repr(found)
