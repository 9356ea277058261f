"""Scikit-learn pipelines over text as ONNX graphs that take strings.

Three options are needed for the graphs to load everywhere: locale `C` (the default `en_US.UTF-8` is not
installed on Lambda), a token pattern that RE2 understands, and class probabilities as a plain tensor.
"""

from __future__ import annotations

import onnx
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import Pipeline
from skl2onnx import to_onnx
from skl2onnx.common.data_types import StringTensorType

from .manifest import Tensor

_OPSETS = {"": 17, "ai.onnx.ml": 3}


def tfidf(max_features: int) -> TfidfVectorizer:
    """A TF-IDF step whose tokens are runs of ASCII letters, digits and underscores."""
    return TfidfVectorizer(max_features=max_features, token_pattern=r"[a-zA-Z0-9_]+")


def export(
    pipeline: Pipeline, name: str, options: dict[str, object], outputs: tuple[Tensor, ...]
) -> bytes:
    """Converts a fitted pipeline with the steps `tfidf` and `model`.

    `options` go to the converter of `model`. `outputs` gives names and item shapes to the graph's outputs,
    in their order: the converter's own are generic, and for some kinds its shapes are wrong.
    """
    steps = pipeline.named_steps
    graph_options = {id(steps["tfidf"]): {"locale": "C"}}
    if options:
        graph_options[id(steps["model"])] = options
    model = to_onnx(
        pipeline,
        name=name.replace("-", "_"),
        initial_types=[("text", StringTensorType([None, 1]))],
        options=graph_options,
        target_opset=_OPSETS,
    )
    if len(model.graph.output) != len(outputs):
        raise ValueError(f"`{name}` has {len(model.graph.output)} outputs, not {len(outputs)}")
    for info, declared in zip(model.graph.output, outputs):
        _rename_output(model.graph, info, declared.name)
        _declare_shape(info, declared.shape)
    return model.SerializeToString(deterministic=True)


def _rename_output(graph: onnx.GraphProto, info: onnx.ValueInfoProto, new: str) -> None:
    old = info.name
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
        node.input[:] = [new if name == old else name for name in node.input]
    info.name = new


def _declare_shape(info: onnx.ValueInfoProto, item_shape: tuple[int, ...]) -> None:
    shape = info.type.tensor_type.shape
    del shape.dim[:]
    shape.dim.add(dim_param="batch")
    for size in item_shape:
        shape.dim.add(dim_value=size)
