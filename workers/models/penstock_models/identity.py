"""`identity` and `identity-onnx`: sixteen numbers back as they came: all but the model is measured."""

from __future__ import annotations

from onnx import TensorProto

from .folder import Model
from .manifest import Manifest, Tensor, Work
from .onnx_graph import GraphBuilder, tensor
from .sources import Sources

_WIDTH = 16
_TENSORS = {
    "inputs": (Tensor("x", "FP32", (_WIDTH,)),),
    "outputs": (Tensor("y", "FP32", (_WIDTH,)),),
    "work": Work("items", 1),
    "license": "Apache-2.0",
}


def build_identity(name: str, sources: Sources) -> Model:
    """Answered by the worker's own identity engine: a manifest without a model file."""
    del sources
    return Model(Manifest(name=name, engine="identity", platform="penstock_identity", file=None, **_TENSORS))


def build_identity_onnx(name: str, sources: Sources) -> Model:
    """The same through ONNX Runtime: one Identity node."""
    del sources
    graph = GraphBuilder()
    graph.op("Identity", "x", output="y")
    ends = [tensor(end, TensorProto.FLOAT, ["batch", _WIDTH]) for end in ("x", "y")]
    return Model(Manifest(name=name, **_TENSORS), {"model.onnx": graph.finish(name, ends[:1], ends[1:])})
