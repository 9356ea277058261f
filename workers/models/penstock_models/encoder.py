"""BERT-family encoders as ONNX graphs, exact in architecture, with numpy and onnx only.

Two layouts are known: BERT (token types, parameters under `encoder.layer.`) and DistilBERT (no token
types, `transformer.layer.`). Batch and sequence length are variable; padded positions get the lowest
finite score before the softmax, so they weigh exactly nothing and an item's answer does not depend on
how much padding its batch brings. No dropout, no quantisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from .onnx_graph import GraphBuilder, tensor
from .weights import Weights

_LOWEST = float(np.finfo(np.float32).min)
_LAYER_NORM_EPSILON = 1e-12


@dataclass(frozen=True)
class LayerNames:
    """The published parameter names inside one layer, after its prefix."""

    prefix: str
    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    feed_forward_in: str
    feed_forward_out: str
    output_norm: str


BERT_LAYER = LayerNames(
    prefix="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    feed_forward_in="intermediate.dense",
    feed_forward_out="output.dense",
    output_norm="output.LayerNorm",
)
DISTILBERT_LAYER = LayerNames(
    prefix="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention_output="attention.out_lin",
    attention_norm="sa_layer_norm",
    feed_forward_in="ffn.lin1",
    feed_forward_out="ffn.lin2",
    output_norm="output_layer_norm",
)


@dataclass(frozen=True)
class Shape:
    """The published dimensions of an encoder."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    names: LayerNames = BERT_LAYER
    token_types: bool = True
    vocabulary: int = 30_522
    positions: int = 512


class Encoder:
    """Builds one graph: `embed`, then a head of the caller's choice, then `finish`."""

    def __init__(self, shape: Shape, weights: Weights) -> None:
        self.shape = shape
        self.graph = GraphBuilder()
        self._weights = weights

    def linear(self, x: str, key: str, inputs: int, outputs: int) -> str:
        """A dense layer; the published matrix is [outputs, inputs]."""
        matrix = self._weights.get(f"{key}.weight", (outputs, inputs))
        offset = self._weights.get(f"{key}.bias", (outputs,), "offset")
        product = self.graph.op("MatMul", x, self.graph.constant(matrix.T, f"{key}.weight_transposed"))
        return self.graph.op("Add", product, self.graph.constant(offset, f"{key}.bias"))

    def encode(self) -> str:
        """Embeddings and all layers: [batch, sequence, hidden]."""
        graph, shape = self.graph, self.shape
        x = self._embed()
        attended = graph.op("Unsqueeze", "attention_mask", graph.integers(1, 2))
        attended = graph.op("Cast", attended, to=TensorProto.FLOAT)
        padding_scores = graph.op("Mul", graph.op("Sub", graph.real(1.0), attended), graph.real(_LOWEST))
        split_heads = graph.integers(0, 0, shape.heads, shape.hidden // shape.heads)
        join_heads = graph.integers(0, 0, shape.hidden)
        for index in range(shape.layers):
            x = self._layer(x, f"{shape.names.prefix}.{index}.", padding_scores, split_heads, join_heads)
        return x

    def first_token(self, x: str) -> str:
        """The state of the leading [CLS] token: [batch, hidden]."""
        graph = self.graph
        first = graph.op("Slice", x, graph.integers(0), graph.integers(1), graph.integers(1))
        return graph.op("Squeeze", first, graph.integers(1))

    def finish(self, name: str, output: str, width: int) -> bytes:
        """Closes the graph over an FP32 output [batch, width]."""
        names = ["input_ids", "attention_mask"] + (["token_type_ids"] if self.shape.token_types else [])
        inputs = [tensor(each, TensorProto.INT64, ["batch", "sequence"]) for each in names]
        return self.graph.finish(name, inputs, [tensor(output, TensorProto.FLOAT, ["batch", width])])

    def _embed(self) -> str:
        graph, shape = self.graph, self.shape
        words = self._table("word_embeddings", shape.vocabulary)
        positions = self._table("position_embeddings", shape.positions)
        x = graph.op("Gather", words, "input_ids")
        sizes = graph.op("Shape", "input_ids")
        length = graph.op("Slice", sizes, graph.integers(1), graph.integers(2))
        here = graph.op("Slice", positions, graph.integers(0), length, graph.integers(0))
        if shape.token_types:
            types = self._table("token_type_embeddings", 2)
            x = graph.op("Add", x, graph.op("Gather", types, "token_type_ids"))
        return self._layer_norm(graph.op("Add", x, here), "embeddings.LayerNorm")

    def _layer(self, x: str, prefix: str, padding_scores: str, split_heads: str, join_heads: str) -> str:
        graph, shape, names = self.graph, self.shape, self.shape.names
        width = shape.hidden

        def heads(key: str, order: list[int]) -> str:
            return graph.op(
                "Transpose",
                graph.op("Reshape", self.linear(x, prefix + key, width, width), split_heads),
                perm=order,
            )

        query = heads(names.query, [0, 2, 1, 3])
        key = heads(names.key, [0, 2, 3, 1])
        value = heads(names.value, [0, 2, 1, 3])
        scale = graph.real(float(np.sqrt(width // shape.heads)))
        scores = graph.op("Div", graph.op("MatMul", query, key), scale)
        attention = graph.op("Softmax", graph.op("Add", scores, padding_scores), axis=-1)
        mixed = graph.op("Transpose", graph.op("MatMul", attention, value), perm=[0, 2, 1, 3])
        joined = graph.op("Reshape", mixed, join_heads)
        joined = self.linear(joined, prefix + names.attention_output, width, width)
        x = self._layer_norm(graph.op("Add", joined, x), prefix + names.attention_norm)
        inner = self._gelu(self.linear(x, prefix + names.feed_forward_in, width, shape.feed_forward))
        inner = self.linear(inner, prefix + names.feed_forward_out, shape.feed_forward, width)
        return self._layer_norm(graph.op("Add", inner, x), prefix + names.output_norm)

    def _table(self, name: str, rows: int) -> str:
        key = f"embeddings.{name}.weight"
        return self.graph.constant(self._weights.get(key, (rows, self.shape.hidden)), key)

    def _layer_norm(self, x: str, key: str) -> str:
        scale = self._weights.get(f"{key}.weight", (self.shape.hidden,), "scale")
        offset = self._weights.get(f"{key}.bias", (self.shape.hidden,), "offset")
        return self.graph.op(
            "LayerNormalization",
            x,
            self.graph.constant(scale, f"{key}.weight"),
            self.graph.constant(offset, f"{key}.bias"),
            axis=-1,
            epsilon=_LAYER_NORM_EPSILON,
        )

    def _gelu(self, x: str) -> str:
        """The exact form, x/2 · (1 + erf(x/√2))."""
        graph = self.graph
        inner = graph.op("Erf", graph.op("Div", x, graph.real(float(np.sqrt(2.0)))))
        return graph.op("Mul", graph.op("Mul", x, graph.op("Add", inner, graph.real(1.0))), graph.real(0.5))
