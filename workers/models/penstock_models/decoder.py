"""Llama-family decoders as ONNX graphs with an explicit key-value cache, with numpy and onnx only.

One graph serves both phases of generation. It takes the new tokens of every row (`input_ids`), which of all
columns count (`attention_mask`, cached ones first), the place of each new token in its text (`position_ids`)
and the cache (`past_key_values.N.key`, `….value`); it gives the logits of the last column and the cache with
the new columns at its end (`present.N.key`, `….value`). Names are those that exporters commonly use. Rows
of different length are padded on the left: a column whose mask is 0 weighs exactly nothing.

Weights are either FP32, or 8-bit integers in blocks of 32 with an FP32 scale each (`Precision.INT8`), which
only ONNX Runtime's own operator multiplies with. That operator rounds activations to 8 bits too and takes
another path for one row than for several, so with it an item's answer may depend on its neighbours; to keep
activations in FP32 (its `accuracy_level` 1) made a step 20 times as long. No sampling (the worker's), no
sliding window.
"""

from __future__ import annotations

import enum

import numpy as np
from onnx import TensorProto, ValueInfoProto

from .llama import LlamaShape
from .onnx_graph import GraphBuilder, tensor

_MASKED = -1e9
_BLOCK = 32
_INT8_ACTIVATIONS = 4


class Precision(enum.Enum):
    """How weights of matrices are stored."""

    FP32 = "fp32"
    INT8 = "int8"


class Decoder:
    """Builds the graph of one model from its parameters (see `llama.parameters`)."""

    def __init__(self, shape: LlamaShape, parameters: dict[str, np.ndarray], precision: Precision) -> None:
        self._shape = shape
        self._parameters = parameters
        self._precision = precision
        self._graph = GraphBuilder()
        self._blocks: dict[str, tuple[str, str]] = {}

    def finish(self, name: str) -> bytes:
        """The whole graph as bytes."""
        graph, shape = self._graph, self._shape
        self._prepare()
        x = self._embed()
        inputs, outputs = self._ends()
        for layer in range(shape.layers):
            x = self._layer(x, layer)
        x = self._norm(x, "model.norm.weight")
        x = graph.op("Slice", x, graph.integers(-1), graph.integers(2**31 - 1), graph.integers(1))
        head = "model.embed_tokens.weight" if shape.tied else "lm_head.weight"
        graph.op("Identity", self._linear(x, head), output="logits")
        return graph.finish(name.replace("-", "_"), inputs, outputs)

    def _ends(self) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
        shape = self._shape
        inputs = [
            tensor("input_ids", TensorProto.INT64, ["batch", "sequence"]),
            tensor("attention_mask", TensorProto.INT64, ["batch", "total"]),
            tensor("position_ids", TensorProto.INT64, ["batch", "sequence"]),
        ]
        outputs = [tensor("logits", TensorProto.FLOAT, ["batch", 1, shape.vocabulary])]
        for layer in range(shape.layers):
            for part in ("key", "value"):
                past = ["batch", shape.key_heads, "past", shape.head_width]
                present = ["batch", shape.key_heads, "total", shape.head_width]
                inputs.append(tensor(f"past_key_values.{layer}.{part}", TensorProto.FLOAT, past))
                outputs.append(tensor(f"present.{layer}.{part}", TensorProto.FLOAT, present))
        return inputs, outputs

    def _prepare(self) -> None:
        """What all layers share: rotations, lengths, and which columns each new token may see."""
        graph, shape = self._graph, self._shape
        frequencies = shape.theta ** -(np.arange(0, shape.head_width, 2) / shape.head_width)
        angles = np.outer(np.arange(shape.positions), frequencies)
        axis = graph.integers(2)
        tables = [(np.cos(angles), "rotation_cosine"), (np.sin(angles), "rotation_sine")]
        self._cosine, self._sine = (
            graph.op("Unsqueeze", graph.op("Gather", self._constant(table, name), "position_ids"), axis)
            for table, name in tables
        )
        one, zero = graph.integers(1), graph.integers(0)
        self._new = graph.op("Slice", graph.op("Shape", "input_ids"), one, graph.integers(2))
        self._total = graph.op("Slice", graph.op("Shape", "attention_mask"), one, graph.integers(2))
        step = graph.constant(np.array(1, np.int64))
        start = graph.constant(np.array(0, np.int64))
        columns = graph.op("Range", start, graph.op("Squeeze", self._total, zero), step)
        fresh = graph.op("Range", start, graph.op("Squeeze", self._new, zero), step)
        own = graph.op("Add", fresh, graph.op("Sub", self._total, self._new))
        not_later = graph.op(
            "LessOrEqual", graph.op("Unsqueeze", columns, zero), graph.op("Unsqueeze", own, one)
        )
        counts = graph.op("Cast", graph.op("Unsqueeze", "attention_mask", one), to=TensorProto.BOOL)
        seen = graph.op("And", graph.op("Unsqueeze", not_later, zero), counts)
        scores = graph.op("Where", seen, graph.real(0.0), graph.real(_MASKED))
        self._mask = graph.op("Unsqueeze", scores, graph.integers(1, 2))  # batch, 1, 1, new, total

    def _embed(self) -> str:
        graph, key = self._graph, "model.embed_tokens.weight"
        if self._precision is Precision.FP32:
            return graph.op("Gather", self._constant(self._parameters[key], key), "input_ids")
        levels, scales = self._quantised(key)
        rows = graph.op("Cast", graph.op("Gather", levels, "input_ids"), to=TensorProto.FLOAT)
        rows = graph.op("Sub", rows, graph.real(128.0))
        scale = graph.op("Unsqueeze", graph.op("Gather", scales, "input_ids"), graph.integers(-1))
        return graph.op("Reshape", graph.op("Mul", rows, scale), graph.integers(0, 0, self._shape.hidden))

    def _layer(self, x: str, layer: int) -> str:
        graph, prefix = self._graph, f"model.layers.{layer}."
        y = self._norm(x, f"{prefix}input_layernorm.weight")
        attended = self._attend(y, f"{prefix}self_attn.", layer)
        x = graph.op("Add", x, self._linear(attended, f"{prefix}self_attn.o_proj.weight"))
        y = self._norm(x, f"{prefix}post_attention_layernorm.weight")
        gate = self._linear(y, f"{prefix}mlp.gate_proj.weight")
        gate = graph.op("Mul", gate, graph.op("Sigmoid", gate))
        inner = graph.op("Mul", gate, self._linear(y, f"{prefix}mlp.up_proj.weight"))
        return graph.op("Add", x, self._linear(inner, f"{prefix}mlp.down_proj.weight"))

    def _attend(self, y: str, prefix: str, layer: int) -> str:
        """Attention of the new tokens to the cache and to each other: [batch, new, hidden].

        Several query heads share one key head, so the queries of a key head stand one below the other.
        """
        graph, shape = self._graph, self._shape
        width, group = shape.head_width, shape.heads // shape.key_heads
        query = self._heads(y, f"{prefix}q_proj.weight", shape.heads, rotated=True)
        key = self._heads(y, f"{prefix}k_proj.weight", shape.key_heads, rotated=True)
        value = self._heads(y, f"{prefix}v_proj.weight", shape.key_heads, rotated=False)
        key, value = (
            graph.op(
                "Concat", f"past_key_values.{layer}.{part}", new, output=f"present.{layer}.{part}", axis=2
            )
            for part, new in (("key", key), ("value", value))
        )
        query = graph.op("Mul", query, graph.real(1.0 / float(np.sqrt(width))))
        query = graph.op("Reshape", query, graph.integers(0, shape.key_heads, -1, width))
        scores = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 1, 3, 2]))
        apart = [graph.integers(0, shape.key_heads, group), self._new, self._total]
        scores = graph.op("Reshape", scores, graph.op("Concat", *apart, axis=0))
        weights = graph.op("Softmax", graph.op("Add", scores, self._mask), axis=-1)
        stacked = graph.op("Mul", self._new, graph.integers(group))
        together = graph.op("Concat", graph.integers(0, shape.key_heads), stacked, self._total, axis=0)
        mixed = graph.op("MatMul", graph.op("Reshape", weights, together), value)
        by_head = graph.op(
            "Concat", graph.integers(0, shape.heads), self._new, graph.integers(width), axis=0
        )
        mixed = graph.op("Transpose", graph.op("Reshape", mixed, by_head), perm=[0, 2, 1, 3])
        return graph.op("Reshape", mixed, graph.integers(0, 0, shape.hidden))

    def _heads(self, y: str, key: str, heads: int, *, rotated: bool) -> str:
        """A projection by heads, [batch, heads, new, width], turned by its position if so asked."""
        graph = self._graph
        x = self._linear(y, key)
        x = graph.op("Reshape", x, graph.integers(0, 0, heads, self._shape.head_width))
        if rotated:
            first, second = graph.halves(x)
            left = graph.op(
                "Sub", graph.op("Mul", first, self._cosine), graph.op("Mul", second, self._sine)
            )
            right = graph.op(
                "Add", graph.op("Mul", first, self._sine), graph.op("Mul", second, self._cosine)
            )
            x = graph.op("Concat", left, right, axis=-1)
        return graph.op("Transpose", x, perm=[0, 2, 1, 3])

    def _norm(self, x: str, key: str) -> str:
        """Division by the root of the mean square, then a scale."""
        graph = self._graph
        mean = graph.op("ReduceMean", graph.op("Pow", x, graph.real(2.0)), axes=[-1], keepdims=1)
        root = graph.op("Sqrt", graph.op("Add", mean, graph.real(self._shape.epsilon)))
        return graph.op("Mul", graph.op("Div", x, root), self._constant(self._parameters[key], key))

    def _linear(self, x: str, key: str) -> str:
        """A product with a published matrix, [outputs, inputs]."""
        outputs, inputs = self._parameters[key].shape
        if self._precision is Precision.FP32:
            matrix = self._constant(self._parameters[key].T, f"{key}.transposed")
            return self._graph.op("MatMul", x, matrix)
        levels, scales = self._quantised(key)
        return self._graph.runtime_op(
            "MatMulNBits",
            x,
            levels,
            scales,
            K=inputs,
            N=outputs,
            bits=8,
            block_size=_BLOCK,
            accuracy_level=_INT8_ACTIVATIONS,
        )

    def _quantised(self, key: str) -> tuple[str, str]:
        """Names of a matrix's levels, [outputs, blocks, 32] around 128, and scales, [outputs, blocks]."""
        if key not in self._blocks:
            outputs, inputs = self._parameters[key].shape
            blocks = self._parameters[key].reshape(outputs, inputs // _BLOCK, _BLOCK)
            scales = np.maximum(np.abs(blocks).max(axis=2), 1e-12) / np.float32(127)
            levels = np.rint(blocks / scales[:, :, None]) + 128
            self._blocks[key] = (
                self._graph.constant(levels.astype(np.uint8), f"{key}.levels"),
                self._graph.constant(scales.astype(np.float32), f"{key}.scales"),
            )
        return self._blocks[key]

    def _constant(self, value: np.ndarray, name: str) -> str:
        return self._graph.constant(value.astype(np.float32), name)
