"""Drives a running gateway with the real `tritonclient` over HTTP and checks every answer.

Needs the gateway to serve model `identity` (FP32 [16], `x` in, `y` out). With `--text-model` it also sends BYTES to a model
with one BYTES input of one string an item. Exits 1 with a list of what did not hold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

from checks import CHECKS, check, run_checks



class Session:
    """The client and what the checks share."""

    def __init__(self, url: str, text_model: str | None) -> None:
        self.client = http.InferenceServerClient(url, concurrency=8, network_timeout=60.0)
        self.text_model = text_model
        self.random = np.random.default_rng(7)

    def floats(self, items: int) -> np.ndarray:
        return self.random.standard_normal((items, 16)).astype(np.float32)

    def infer(self, data: np.ndarray, binary_in: bool = True, outputs: list | None = None, **options) -> http.InferResult:
        tensor = http.InferInput("x", list(data.shape), "FP32").set_data_from_numpy(data, binary_data=binary_in)
        return self.client.infer("identity", [tensor], outputs=outputs, **options)


def expect_error(status: str, part: str, call: Callable[[], object]) -> None:
    """Asserts that `call` fails with this status and a message that holds `part`."""
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == status, f"status {error.status()} instead of {status}: {error}"
        assert part in error.message(), f"{part!r} is not in {error.message()!r}"
        return
    raise AssertionError(f"no error, {status} expected")


@check
def health(session: Session) -> None:
    assert session.client.is_server_live()
    assert session.client.is_server_ready()
    assert session.client.is_model_ready("identity")
    assert session.client.is_model_ready("identity", "1")
    assert not session.client.is_model_ready("no-such-model")


@check
def metadata(session: Session) -> None:
    server = session.client.get_server_metadata()
    assert "binary_tensor_data" in server["extensions"]
    model = session.client.get_model_metadata("identity", "1")
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 16]}], model
    assert model["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 16]}], model
    expect_error("404", "no-such-model", lambda: session.client.get_model_metadata("no-such-model"))
    expect_error("404", "version", lambda: session.client.get_model_metadata("identity", "77"))


@check
def configuration(session: Session) -> None:
    config = session.client.get_model_config("identity")
    assert config["max_batch_size"] >= 1
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [16]}], config


@check
def repository(session: Session) -> None:
    index = session.client.get_model_repository_index()
    assert {"name": "identity", "version": "1", "state": "READY", "reason": ""} in index, index


@check
def statistics_grow(session: Session) -> None:
    def stages() -> dict:
        return session.client.get_inference_statistics("identity")["model_stats"][0]["inference_stats"]

    before = stages()
    for _ in range(3):
        session.infer(session.floats(1))
    after = stages()
    for stage in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        assert after[stage]["count"] - before[stage]["count"] == 3, (stage, before, after)
    assert session.client.get_inference_statistics()["model_stats"]


@check
def binary_both_ways(session: Session) -> None:
    for items in (1, 2, 7, 64):
        data = session.floats(items)
        assert np.array_equal(session.infer(data).as_numpy("y"), data)


@check
def special_values_in_binary(session: Session) -> None:
    data = np.array([[np.nan, np.inf, -np.inf, -0.0] * 4], dtype=np.float32)
    answer = session.infer(data).as_numpy("y")
    assert answer.tobytes() == data.tobytes()
    as_json = [http.InferRequestedOutput("y", binary_data=False)]
    expect_error("422", "NaN", lambda: session.infer(data, outputs=as_json))


@check
def json_both_ways(session: Session) -> None:
    data = session.floats(3)
    outputs = [http.InferRequestedOutput("y", binary_data=False)]
    assert np.array_equal(session.infer(data, binary_in=False, outputs=outputs).as_numpy("y"), data)


@check
def json_and_binary_mixed(session: Session) -> None:
    data = session.floats(2)
    as_json, as_binary = (http.InferRequestedOutput("y", binary_data=binary) for binary in (False, True))
    assert np.array_equal(session.infer(data, binary_in=True, outputs=[as_json]).as_numpy("y"), data)
    assert np.array_equal(session.infer(data, binary_in=False, outputs=[as_binary]).as_numpy("y"), data)


@check
def identifiers_and_options(session: Session) -> None:
    result = session.infer(session.floats(1), request_id="order-66", priority=1, timeout=30_000_000)
    assert result.get_response()["id"] == "order-66"
    receipt = session.infer(session.floats(1), parameters={"penstock_receipt": True}).get_response()["parameters"]
    assert receipt["penstock_batch_items"] >= 1 and "penstock_cost_usd" in receipt, receipt


@check
def concurrent_answers_are_their_own(session: Session) -> None:
    data = [session.floats(1 + index % 3) for index in range(200)]
    pending = []
    for values in data:
        tensor = http.InferInput("x", list(values.shape), "FP32").set_data_from_numpy(values)
        pending.append(session.client.async_infer("identity", [tensor]))
    for values, request in zip(data, pending):
        assert np.array_equal(request.get_result().as_numpy("y"), values)


@check
def compression_both_ways(session: Session) -> None:
    data = np.tile(np.float32(0.5), (64, 16))
    for algorithm in ("gzip", "deflate"):
        for binary in (True, False):
            answer = session.infer(
                data,
                binary_in=binary,
                outputs=[http.InferRequestedOutput("y", binary_data=binary)],
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            assert np.array_equal(answer.as_numpy("y"), data), (algorithm, binary)


@check
def offline_bodies(session: Session) -> None:
    data = session.floats(2)
    tensor = http.InferInput("x", [2, 16], "FP32").set_data_from_numpy(data)
    body, json_size = http.InferenceServerClient.generate_request_body([tensor])
    headers = {} if json_size is None else {"Inference-Header-Content-Length": json_size}
    response = session.client._post("v2/models/identity/infer", body, headers, None)
    answer = http.InferenceServerClient.parse_response_body(
        response.read(), header_length=int(response.get("Inference-Header-Content-Length"))
    )
    assert np.array_equal(answer.as_numpy("y"), data)


@check
def bad_requests(session: Session) -> None:
    def wrong(shape: list[int], datatype: str, kind: type, name: str = "x", model: str = "identity") -> Callable[[], object]:
        tensor = http.InferInput(name, shape, datatype).set_data_from_numpy(np.zeros(shape, dtype=kind))
        return lambda: session.client.infer(model, [tensor])

    expect_error("422", "`inputs[0].shape`", wrong([1, 3], "FP32", np.float32))
    expect_error("422", "`inputs[0].datatype`", wrong([1, 16], "FP64", np.float64))
    expect_error("422", "no items", wrong([0, 16], "FP32", np.float32))
    expect_error("400", "`inputs[0].name`", wrong([1, 16], "FP32", np.float32, name="z"))
    expect_error("404", "no-such-model", wrong([1, 16], "FP32", np.float32, model="no-such-model"))
    no_such = [http.InferRequestedOutput("z")]
    expect_error("400", "`outputs[0].name`", lambda: session.infer(session.floats(1), outputs=no_such))
    shared = http.InferInput("x", [1, 16], "FP32").set_shared_memory("region", 64)
    expect_error("400", "shared_memory_region", lambda: session.client.infer("identity", [shared]))


@check
def byte_strings(session: Session) -> None:
    if session.text_model is None:
        return
    name = session.client.get_model_metadata(session.text_model)["inputs"][0]["name"]
    texts = np.array([["a fine film"], ["naïve — and dull 🚰"]], dtype=np.object_)
    for binary in (True, False):
        tensor = http.InferInput(name, [2, 1], "BYTES").set_data_from_numpy(texts, binary_data=binary)
        result = session.client.infer(session.text_model, [tensor])
        assert all(output["shape"][0] == 2 for output in result.get_response()["outputs"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="HOST:PORT of the public listener")
    parser.add_argument("--text-model", help="a model with one BYTES input of one string an item")
    options = parser.parse_args()
    session = Session(options.url, options.text_model)
    failed = run_checks(session)
    session.client.close()
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
