"""Passages ordered again by a cross-encoder or an API, which may fail without harm."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import OpenEngine
from files import HARBOUR, LIGHTHOUSE
from onnx import TensorProto, helper, numpy_helper

from matinee import rerank
from matinee.engine import Engine
from matinee.rerank import RemoteReranker, RerankError, open_reranker
from matinee.retrieval import Found
from matinee.settings import Settings

KEY = "secret-of-the-tests"
BREAD = "Sourdough bread is baked in a very hot oven, with steam. The lighthouse has no oven."


class Api(ThreadingHTTPServer):
    """A rerank API: the later a document, the better it is; or what `reply` makes of a request."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.status = 200
        self.delay = 0.0
        self.reply: Callable[[dict[str, Any]], object] = lambda request: {
            "results": [
                {"index": index, "relevance_score": (index + 1) / 100}
                for index in reversed(range(len(request["documents"])))
            ]
        }
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                api.requests.append(request)
                api.authorizations.append(self.headers["Authorization"])
                time.sleep(api.delay)
                body = json.dumps(api.reply(request)).encode()
                self.send_response(api.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v2/rerank"


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ask(open_engine: OpenEngine, api: Api) -> Callable[[], Found]:
    """Ask about the lighthouse, with the API as reranker."""
    engine = open_engine(MATINEE_RERANKER=api.url, MATINEE_RERANKER_MODEL="rerank-v3.5", RERANKER_API_KEY=KEY)
    fill(engine)
    return lambda: search(engine)


def fill(engine: Engine) -> None:
    for name, text in (("harbour.txt", HARBOUR), ("lighthouse.txt", LIGHTHOUSE), ("bread.txt", BREAD)):
        engine.add(name, text.encode())


def search(engine: Engine) -> Found:
    return engine.retriever.search(
        "When was the lamp of the lighthouse first lit?", engine.workspace("visitor").scope()
    )


def names(found: Found) -> list[str]:
    return [hit.passage.document_name for hit in found.hits]


def cross_encoder(folder: Path, outputs: int, weights: dict[str, float]) -> Path:
    """Build a real one: the logit is the sum of its tokens' weights; with two outputs, against and for."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Settings().model / "tokenizer.json"))
    table = np.zeros((tokenizer.get_vocab_size(), outputs), np.float32)
    for word, weight in weights.items():
        table[tokenizer.token_to_id(word), -1] = weight
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["each"]),
            helper.make_node("ReduceSum", ["each", "axis"], ["logits"], keepdims=0),
        ],
        "cross-encoder",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", outputs])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir()
    onnx.save(model, str(folder / "model.onnx"))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_without_a_reranker_the_fused_order_stays(engine: Engine) -> None:
    fill(engine)
    found = search(engine)
    assert names(found)[0] == "lighthouse.txt"
    assert {candidate.reranked for candidate in found.trace.candidates} == {None}


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_cross_encoder_in_a_folder_orders_the_hits(
    open_engine: OpenEngine, tmp_path: Path, outputs: int
) -> None:
    folder = cross_encoder(tmp_path / "encoder", outputs, {"oven": 3.0, "coal": 1.0})
    engine = open_engine(MATINEE_RERANKER=str(folder))
    fill(engine)
    found = search(engine)
    assert names(found) == ["bread.txt", "harbour.txt", "lighthouse.txt"]
    assert [round(hit.score, 3) for hit in found.hits] == [0.998, 0.731, 0.5]  # sigmoids of 6, 1 and 0


def test_a_passage_longer_than_the_cross_encoders_window_is_cut(tmp_path: Path) -> None:
    folder = cross_encoder(tmp_path / "encoder", 1, {"oven": 1.0})
    reranker = open_reranker(Settings.model_validate({"MATINEE_RERANKER": str(folder)}))
    assert reranker
    early, late = reranker.rerank("Where?", ["oven " + "word " * 3000, "word " * 3000 + "oven"])
    assert early > late == 0.5


def test_a_rerank_api_orders_the_hits(ask: Callable[[], Found], api: Api) -> None:
    found = ask()
    [request] = api.requests
    assert request["model"] == "rerank-v3.5"
    assert request["query"] == "When was the lamp of the lighthouse first lit?"
    assert api.authorizations == [f"Bearer {KEY}"]
    assert [hit.passage.text for hit in found.hits] == request["documents"][::-1]
    assert [candidate.reranked for candidate in found.trace.candidates] == [0.03, 0.02, 0.01]
    assert found.trace.steps[-2].name == "reranking"


@pytest.mark.parametrize(
    ("status", "reply", "said"),
    [
        (401, {}, "check RERANKER_API_KEY"),
        (429, {}, "over its limit"),
        (500, {}, "status 500"),
        (200, {"results": [{"index": 0, "relevance_score": 0.5}]}, "no score for each passage"),
        (200, {"results": "none"}, "no score for each passage"),
        (200, ["no", "object"], "no score for each passage"),
    ],
)
def test_a_failing_api_leaves_the_fused_order_and_the_trace_says_so(
    ask: Callable[[], Found], api: Api, status: int, reply: object, said: str
) -> None:
    api.status, api.reply = status, lambda _request: reply
    found = ask()
    assert names(found)[0] == "lighthouse.txt"
    [step] = [step for step in found.trace.steps if step.name == "reranking"]
    assert said in step.detail
    assert KEY not in step.detail


def test_a_slow_api_is_not_waited_for(
    ask: Callable[[], Found], api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerank, "TIMEOUT_SECONDS", 0.1)
    api.delay = 0.5
    found = ask()
    assert names(found)[0] == "lighthouse.txt"
    assert any("did not answer within" in step.detail for step in found.trace.steps)


def test_an_api_that_keeps_failing_is_left_alone_for_a_while(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    reranker = RemoteReranker(api.url, "", KEY)
    api.status = 503
    for _ in range(rerank.FAILURES + 2):
        with pytest.raises(RerankError):
            reranker.rerank("Where?", ["here"])
    assert len(api.requests) == rerank.FAILURES
    api.status = 200
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + rerank.PAUSE_SECONDS + 1)
    assert reranker.rerank("Where?", ["here"]) == [0.01]
    assert "model" not in api.requests[-1]


def test_an_address_where_nobody_listens_is_no_harm(open_engine: OpenEngine) -> None:
    engine = open_engine(MATINEE_RERANKER="http://127.0.0.1:9/rerank")
    fill(engine)
    assert names(search(engine))[0] == "lighthouse.txt"


def test_a_folder_without_a_cross_encoder_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(RerankError, match=r"it needs model\.onnx and tokenizer\.json"):
        open_reranker(Settings.model_validate({"MATINEE_RERANKER": str(tmp_path)}))
