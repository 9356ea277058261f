"""Triton's Python backend giving the batch back; a peer in `cargo xtask bench gateway --peers`."""

import os
import sys

sys.path.insert(0, os.environ["PEER_SITE_PACKAGES"])

import triton_python_backend_utils as triton  # noqa: E402  (Triton's interpreter needs the path first)


class TritonPythonModel:
    """Echo: input `x` becomes output `y`."""

    def execute(self, requests):
        def answer(request):
            tensor = triton.get_input_tensor_by_name(request, "x")
            return triton.InferenceResponse([triton.Tensor("y", tensor.as_numpy())])

        return [answer(request) for request in requests]
