"""A small builder for ONNX graphs with named nodes, so that equal recipes give equal bytes."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
RUNTIME_DOMAIN = "com.microsoft"


class GraphBuilder:
    """Collects nodes and initializers in the order in which they are asked for."""

    def __init__(self) -> None:
        self._nodes: list = []
        self._initializers: list[TensorProto] = []
        self._counter = 0
        self._domains: set[str] = set()

    def op(self, kind: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        """Adds a node with one output and returns the output's name."""
        self._counter += 1
        name = f"{kind}_{self._counter}"
        output = output or name
        self._nodes.append(helper.make_node(kind, list(inputs), [output], name=name, **attributes))
        return output

    def halves(self, x: str) -> tuple[str, str]:
        """Splits the last dimension in two equal parts."""
        self._counter += 1
        outputs = (f"Split_{self._counter}_first", f"Split_{self._counter}_second")
        self._nodes.append(helper.make_node("Split", [x], outputs, name=f"Split_{self._counter}", axis=-1))
        return outputs

    def runtime_op(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Adds a node of ONNX Runtime's own operators; such a graph runs in no other runtime."""
        self._domains.add(RUNTIME_DOMAIN)
        return self.op(kind, *inputs, domain=RUNTIME_DOMAIN, **attributes)

    def constant(self, value: np.ndarray | np.generic, name: str | None = None) -> str:
        """Adds an initializer and returns its name."""
        if name is None:
            self._counter += 1
            name = f"constant_{self._counter}"
        self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def integers(self, *values: int) -> str:
        """Adds a one-dimensional INT64 initializer: axes, shapes, bounds."""
        return self.constant(np.array(values, np.int64))

    def real(self, value: float) -> str:
        """Adds a one-element FP32 initializer that broadcasts."""
        return self.constant(np.array(value, np.float32).reshape(1))

    def finish(self, name: str, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> bytes:
        """Checks the model and returns its bytes."""
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._initializers)
        model: ModelProto = helper.make_model(
            graph,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                *(helper.make_opsetid(domain, 1) for domain in sorted(self._domains)),
            ],
            producer_name="penstock-models",
            ir_version=IR_VERSION,
        )
        checker.check_model(model)
        return model.SerializeToString(deterministic=True)


def tensor(name: str, element_type: int, shape: list[int | str]) -> ValueInfoProto:
    """Describes a graph input or output; a string in the shape is a named variable dimension."""
    return helper.make_tensor_value_info(name, element_type, shape)
