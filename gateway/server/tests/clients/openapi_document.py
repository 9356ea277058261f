"""Holds a running gateway to its OpenAPI document: the document is valid, and what is answered has the form that it says.

Needs the gateway to serve model `identity` (FP32 [16], `x` in, `y` out). A served sentence embedder is used if there is one, and so are files and
batches if `[bulk] directory` is set; what is not there is said. Each answer is checked for a documented status, media type and header, and its body
against the schema. Exits 1 with a list of what did not hold.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import http.client
import json
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import openapi_spec_validator
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from checks import CHECKS, check, run_checks

VERBS = ("get", "post", "put", "patch", "delete", "options", "head", "trace")
DOCUMENT = "urn:penstock:openapi"
TOKEN = {"Authorization": "Bearer sk-openapi"}
FINAL = {"completed", "failed", "expired", "cancelled"}
# Fields that an answer may lack; every other one is missed.
OPTIONAL = {"id", "failed_items", "dynamic_batching", "parameters"}
# Objects with keys of their own.
MAPS = {"metadata", "reached_unix_ms"}


@dataclass
class Answer:
    """What came back. Names of headers are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> object:
        return json.loads(self.body)


class Session:
    """Both listeners, the document, and the bodies that were checked."""

    def __init__(self, public: str, admin: str) -> None:
        self.public, self.admin = public, admin
        self.document = self.send(public, "GET", "/openapi.json").json()
        self.registry = Registry().with_resource(DOCUMENT, DRAFT202012.create_resource(self.document))
        self.checked: dict[str, object] = {}

    def send(self, address: str, verb: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        connection = http.client.HTTPConnection(address, timeout=60)
        try:
            connection.request(verb, path, body or None, headers or {})
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()

    def call(
        self,
        verb: str,
        template: str,
        status: int = 200,
        *,
        body: object = b"",
        headers: dict[str, str] | None = None,
        query: dict[str, object] | None = None,
        **names: str,
    ) -> Answer:
        """Sends a request, and asserts that the answer has this status and all that the document says of it."""
        item = self.document["paths"][template]
        address = self.admin if "servers" in item else self.public
        path = template
        for name, value in names.items():
            path = path.replace(f"{{{name}}}", quote(value, safe=""))
        path += f"?{urlencode(query)}" if query else ""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.send(address, verb.upper(), path, sent, headers)
        shown = f"{verb.upper()} {path}: {answer.status} {answer.body[:300]!r}"
        assert answer.status == status, f"{status} expected, {shown}"
        where = self.place("paths", template, verb, "responses", str(status))
        self.assert_documented(where, answer, shown)
        return answer

    def assert_documented(self, where: str, answer: Answer, shown: str) -> None:
        documented = self.at(where)
        for name in documented.get("headers", {}):
            header = self.place_below(where, "headers", name)
            value = answer.headers.get(name.lower())
            assert value is not None or not self.at(header).get("required"), f"no header {name}: {shown}"
            if value is not None:
                number = self.at(header)["schema"].get("type") == "integer"
                self.assert_fits(f"{header}/schema", int(value) if number else value, f"header {name}: {shown}")
        if "content" not in documented:
            assert not answer.body, f"a body that is not documented: {shown}"
            return
        media_type = answer.headers.get("content-type", "")
        assert media_type in documented["content"], f"media type {media_type!r} is not documented: {shown}"
        schema = self.place_below(where, "content", media_type, "schema")
        if media_type == "application/json":
            body = answer.json()
            self.assert_fits(schema, body, shown)
            self.checked.setdefault(schema, body)
        elif media_type == "application/octet-stream" and "inference-header-content-length" in answer.headers:
            head, _ = parts(answer)
            self.assert_fits("/components/schemas/InferResponse", head, shown)

    def assert_fits(self, schema: str, value: object, shown: str = "") -> None:
        error = best_match(self.errors(schema, value))
        assert error is None, f"{error.json_path if error else ''} {error.message[:300] if error else ''}; {shown}"

    def errors(self, schema: str, value: object) -> Iterator:
        """What is wrong with a value, by the schema at this place of the document."""
        reference = {"$ref": f"{DOCUMENT}#{quote(schema, safe='/~')}"}
        return Draft202012Validator(reference, registry=self.registry).iter_errors(value)

    def place(self, *names: str) -> str:
        return self.place_below("", *names)

    def place_below(self, pointer: str, *names: str) -> str:
        """JSON pointer of a place in the document; mere references on the way are followed."""
        for name in names:
            pointer += "/" + name.replace("~", "~0").replace("/", "~1")
            while set(self.at(pointer)) == {"$ref"}:
                pointer = self.at(pointer)["$ref"].removeprefix("#")
        return pointer

    def at(self, pointer: str) -> dict:
        node = self.document
        for name in pointer.split("/")[1:]:
            name = name.replace("~1", "/").replace("~0", "~")
            assert name in node, f"{pointer} is not in the document"
            node = node[name]
        return node

    def operations(self, *verbs: str) -> Iterator[tuple[str, str, dict]]:
        for template, item in self.document["paths"].items():
            yield from ((template, verb, item[verb]) for verb in verbs if verb in item)

    def has_jobs(self) -> bool:
        return self.call("get", "/control/gateway").json()["has_jobs"]

    def embedder(self) -> str | None:
        models = self.call("get", "/v1/models").json()["data"]
        return next((model["id"] for model in models if model["embeds"]), None)


def parts(answer: Answer) -> tuple[dict, bytes]:
    """JSON and binary data of an answer that has both."""
    length = int(answer.headers["inference-header-content-length"])
    return json.loads(answer.body[:length]), answer.body[length:]


def tensor(items: int, **fields: object) -> dict:
    return {"name": "x", "datatype": "FP32", "shape": [items, 16], **fields}


def rows(items: int) -> list[list[float]]:
    return [[item + column / 16 for column in range(16)] for item in range(items)]


def binary(numbers: list[list[float]]) -> bytes:
    return b"".join(struct.pack("<16f", *row) for row in numbers)


@check
def the_document_is_openapi_and_its_examples_fit(session: Session) -> None:
    openapi_spec_validator.validate(session.document)
    for name, schema in session.document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema, name
    for template, verb, operation in session.operations(*VERBS):
        assert operation.get("operationId") and operation.get("summary"), f"{verb} {template}"
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            if "example" in content:
                schema = session.place("paths", template, verb, "requestBody", "content", media_type, "schema")
                session.assert_fits(schema, content["example"], f"the example of {verb} {template}")


@check
def inference_in_every_form(session: Session) -> None:
    infer, version = "/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"
    plain = {"id": "7", "inputs": [tensor(2, data=rows(2))]}
    session.assert_fits("/components/schemas/InferRequest", plain)
    body = session.call("post", infer, body=plain, model="identity").json()
    assert body["id"] == "7" and body["outputs"][0]["data"] == sum(rows(2), []), body
    session.call("post", version, body=plain, model="identity", version="1")
    asked = {**plain, "parameters": {"penstock_receipt": True, "timeout": 30_000_000, "priority": 1}}
    session.assert_fits("/components/schemas/InferRequest", asked)
    assert "penstock_cost_usd" in session.call("post", infer, body=asked, model="identity").json()["parameters"]
    traced = {"Penstock-Receipt": "1", "traceparent": f"00-{'4b' * 16}-{'c7' * 8}-01", "X-Request-Timeout-Ms": "30000"}
    answer = session.call("post", infer, body=plain, headers=traced, model="identity")
    assert answer.headers["penstock-trace-id"] == "4b" * 16, answer.headers

    data = binary(rows(3))
    framed = {"inputs": [tensor(3, parameters={"binary_data_size": len(data)})], "parameters": {"binary_data_output": True}}
    session.assert_fits("/components/schemas/InferRequest", framed)
    head = json.dumps(framed).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = session.call("post", infer, body=head + data, headers=headers, model="identity")
    assert parts(answer)[1] == data, answer
    answer = session.call("post", infer, body=data, headers={"Inference-Header-Content-Length": "0"}, model="identity")
    assert parts(answer)[1] == data, answer

    zipped = {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"}
    large = gzip.compress(json.dumps({"inputs": [tensor(64, data=rows(64))]}).encode())
    answer = session.send(session.public, "POST", "/v2/models/identity/infer", large, zipped)
    assert (answer.status, answer.headers.get("content-encoding")) == (200, "gzip"), answer.headers
    answer = Answer(200, answer.headers, gzip.decompress(answer.body))
    session.assert_documented(session.place("paths", infer, "post", "responses", "200"), answer, "a compressed answer")


@check
def refused_inference_has_the_form_of_an_error(session: Session) -> None:
    infer = "/v2/models/{model}/infer"
    good = tensor(1, data=rows(1))
    nan = binary([[float("nan")] * 16])
    framed = json.dumps({"inputs": [tensor(1, parameters={"binary_data_size": 64})]}).encode()
    length = {"Inference-Header-Content-Length": str(len(framed))}
    for status, code, model, body, headers in [
        (400, "invalid_json", "identity", b"{", {}),
        (400, "invalid_request", "identity", {}, {}),
        (400, "invalid_request", "identity", {"inputs": [{**good, "name": "z"}]}, {}),
        (400, "invalid_request", "identity", {"inputs": [good]}, {"X-Request-Timeout-Ms": "soon"}),
        (404, "unknown_model", "no-such-model", {"inputs": [good]}, {}),
        (413, "too_large", "identity", {"inputs": [{**good, "shape": [1 << 24, 16]}]}, {}),
        (415, "unsupported_encoding", "identity", {"inputs": [good]}, {"Content-Encoding": "br"}),
        (422, "invalid_tensor", "identity", {"id": "7", "inputs": [{**good, "shape": [1, 3], "data": [1, 2, 3]}]}, {}),
        (422, "unrepresentable_output", "identity", framed + nan, length),
        (504, "deadline_exceeded", "identity", {"id": "7", "parameters": {"timeout": 1}, "inputs": [good]}, {}),
    ]:
        answer = session.call("post", infer, status, body=body, headers=headers, model=model).json()
        assert answer["code"] == code, answer
    with_version = "/v2/models/{model}/versions/{version}/infer"
    session.call("post", with_version, 404, body={"inputs": [good]}, model="identity", version="77")
    for wrong in ({}, {"inputs": [{**good, "datatype": "FP8"}]}, {"inputs": [tensor(1)]}, {"inputs": [tensor(1, data=["1"])]}):
        assert any(session.errors("/components/schemas/InferRequest", wrong)), f"the document lets through {wrong}"


@check
def the_repository_index(session: Session) -> None:
    index = "/v2/repository/index"
    assert session.call("post", index).json() == session.call("post", index, body={"ready": True}).json()
    session.call("post", index, 400, body=b"[")
    session.call("post", index, 413, body=b" " * (65 << 10))


@check
def embeddings(session: Session) -> None:
    model = session.embedder()
    if model is None:
        print("skipped embeddings: no served model embeds")
        return
    create = "/v1/embeddings"
    asked = {"model": model, "input": ["a fine film", "a dull one"]}
    session.assert_fits("/components/schemas/EmbeddingsRequest", asked)
    floats = session.call("post", create, body=asked).json()
    assert [entry["index"] for entry in floats["data"]] == [0, 1], floats
    encoded = session.call("post", create, body={**asked, "encoding_format": "base64"}).json()
    assert all(isinstance(entry["embedding"], str) for entry in encoded["data"]), encoded
    for status, code, body, headers in [
        (400, "invalid_json", b"{", {}),
        (400, "invalid_request", {"model": model, "input": [1, 2]}, {}),
        (400, "invalid_request", {"model": model, "input": "a", "truncate": True}, {}),
        (400, "invalid_request", {"model": "identity", "input": "a"}, {}),
        (404, "model_not_found", {"model": "no-such-model", "input": "a"}, {}),
        (415, "unsupported_encoding", asked, {"Content-Encoding": "br"}),
    ]:
        answer = session.call("post", create, status, body=body, headers=headers).json()
        assert answer["error"]["code"] == code, answer
    for wrong in ({"model": model, "input": [1, 2]}, {"model": model, "input": ""}, {**asked, "truncate": True}):
        assert any(session.errors("/components/schemas/EmbeddingsRequest", wrong)), f"the document lets through {wrong}"


def form(data: bytes, **fields: str) -> tuple[bytes, dict[str, str]]:
    """A multipart form and the headers that go with it."""
    boundary = "penstock-openapi"
    text = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    )
    text += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="lines.jsonl"\r\n\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", **TOKEN}
    return text.encode() + data + f"\r\n--{boundary}--\r\n".encode(), headers


@check
def files_and_batches(session: Session) -> None:
    if not session.has_jobs():
        print("skipped files and batches: the gateway runs no jobs")
        return
    url = "/v2/models/identity/infer"

    def line(number: int) -> dict:
        body = {"inputs": [tensor(1, data=rows(1))]}
        return {"custom_id": f"l{number}", "method": "POST", "url": url, "body": body}

    def upload(lines: list[str], status: int = 200, **fields: str) -> dict:
        body, headers = form("\n".join(lines).encode(), **{"purpose": "batch", **fields})
        return session.call("post", "/v1/files", status, body=body, headers=headers).json()

    session.assert_fits("/components/schemas/BatchLine", line(0))
    file = upload([json.dumps(line(number)) for number in range(3)], **{"expires_after[seconds]": "3600"})["id"]
    bad = upload([json.dumps(line(0)), "{"])["id"]
    upload(["{}"], 400, purpose="fine-tune")
    session.call("post", "/v1/files", 400, body=b"x", headers={"Content-Type": "text/plain", **TOKEN})
    session.call("get", "/v1/files", query={"limit": 1, "purpose": "batch"}, headers=TOKEN)
    session.call("get", "/v1/files", 400, query={"limit": 0}, headers=TOKEN)
    session.call("get", "/v1/files", 404, query={"after": "file-x"}, headers=TOKEN)
    session.call("get", "/v1/files/{file_id}", 404, headers={"Authorization": "Bearer sk-other"}, file_id=file)

    def create(status: int = 200, **fields: object) -> dict:
        asked = {"input_file_id": file, "endpoint": url, "completion_window": "24h", **fields}
        return session.call("post", "/v1/batches", status, body=asked, headers=TOKEN).json()

    def ended(batch: str) -> dict:
        until = time.monotonic() + 120
        while True:
            seen = session.call("get", "/v1/batches/{batch_id}", headers=TOKEN, batch_id=batch).json()
            if seen["status"] in FINAL:
                return seen
            assert time.monotonic() < until, f"the batch does not end: {seen}"
            time.sleep(0.05)

    batch = ended(create(metadata={"name": "openapi"})["id"])
    failed = ended(create(input_file_id=bad)["id"])
    assert (batch["status"], failed["status"]) == ("completed", "failed"), (batch, failed)
    for wrong, status in [
        ({"endpoint": "/v1/chat/completions"}, 400),
        ({"completion_window": "never"}, 400),
        ({"surplus": 1}, 400),
        ({"endpoint": "/v2/models/nobody/infer"}, 404),
        ({"input_file_id": "file-x"}, 404),
    ]:
        create(status, **wrong)
    output = session.call("get", "/v1/files/{file_id}/content", headers=TOKEN, file_id=batch["output_file_id"])
    for answered in output.body.splitlines():
        session.assert_fits("/components/schemas/BatchAnswer", json.loads(answered))
    session.call("get", "/v1/batches", query={"limit": 1}, headers=TOKEN)
    session.call("get", "/v1/batches", 400, query={"order": "asc"}, headers=TOKEN)
    session.call("get", "/v1/batches", 404, query={"after": "batch_x"}, headers=TOKEN)
    session.call("get", "/v1/batches/{batch_id}", 404, headers=TOKEN, batch_id="batch_x")
    session.call("post", "/v1/batches/{batch_id}/cancel", 409, headers=TOKEN, batch_id=batch["id"])
    session.call("post", "/v1/batches/{batch_id}/cancel", 404, headers=TOKEN, batch_id="batch_x")
    session.call("delete", "/v1/files/{file_id}", headers=TOKEN, file_id=bad)
    session.call("delete", "/v1/files/{file_id}", 404, headers=TOKEN, file_id=bad)


@check
def every_get_is_answered_as_documented(session: Session) -> None:
    names = {"model": "identity", "version": "1", "name": "console.css"}
    has_jobs = session.has_jobs()
    if has_jobs:
        names["file_id"] = session.call("get", "/v1/files", headers=TOKEN).json()["first_id"]
        names["batch_id"] = session.call("get", "/v1/batches", headers=TOKEN).json()["first_id"]
        assert names["file_id"] and names["batch_id"], "this caller has no file and no batch"
    asked = 0
    for template, verb, operation in session.operations("get"):
        if not has_jobs and {"files", "batches", "jobs"} & set(operation["tags"]):
            print(f"skipped GET {template}: the gateway runs no jobs")
            continue
        wanted = {name: value for name, value in names.items() if f"{{{name}}}" in template}
        status = 307 if "307" in operation["responses"] else 200
        session.call(verb, template, status, headers=TOKEN, **wanted)
        asked += 1
    assert asked >= 28, asked
    for name in ("app.js", "icon.svg"):
        session.call("get", "/console/{name}", name=name)
    session.call("get", "/console/{name}", 404, name="mod.rs")


@check
def names_that_are_not_served_are_refused_as_documented(session: Session) -> None:
    for template, verb, _ in session.operations("get"):
        if "{version}" in template:
            session.call(verb, template, 404, model="identity", version="77")
        if "{model}" in template:
            session.call(verb, template, 404, **{"model": "no-such-model", "version": "1"})


@check
def commands_and_their_refusals(session: Session) -> None:
    as_json = {"Content-Type": "application/json"}

    def command(name: str, status: int = 200, body: object = b"", headers: dict[str, str] = as_json, model: str = "identity") -> None:
        session.call("post", f"/control/models/{{model}}/{name}", status, body=body, headers=headers, model=model)

    session.assert_fits("/components/schemas/PinnedPoint", {"max_batch_size": 4})
    command("pin", body={"max_batch_size": 4})
    command("freeze")
    command("resume")
    command("forget")
    command("pin", 400, {"max_batch_size": 0})
    command("pin", 400, {"surplus": 1})
    command("freeze", 404, model="no-such-model")
    command("freeze", 415, b"{}", {"Content-Type": "text/plain"})
    for name in ("history", "batches"):
        template = f"/control/models/{{model}}/{name}"
        last = session.call("get", template, model="identity").json()
        since = {"after": last["last"], "started_unix_ms": last["started_unix_ms"]}
        session.call("get", template, query=since, model="identity")
        session.call("get", template, 400, query={"before": 1}, model="identity")


def shortened(value: object) -> object:
    """Lists of objects with their first two entries."""
    if isinstance(value, dict):
        return {name: shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        is_long = len(value) > 2 and all(isinstance(entry, dict) for entry in value)
        return [shortened(entry) for entry in (value[:2] if is_long else value)]
    return value


def spoilt(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Copies of a body, each with one field too many or too few, and what was done to it."""
    if isinstance(value, list):
        for index, entry in enumerate(value[:1]):
            for what, other in spoilt(entry, name):
                yield what, [other if at == index else kept for at, kept in enumerate(value)]
    elif isinstance(value, dict) and name not in MAPS:
        yield f"a surplus field in {name or 'the body'}", {**value, "surplus": {}}
        for field, inner in value.items():
            if field not in OPTIONAL:
                yield f"no {field} in {name or 'the body'}", {key: kept for key, kept in value.items() if key != field}
            for what, other in spoilt(inner, field):
                yield what, {**value, field: other}


@check
def a_body_that_differs_would_be_found(session: Session) -> None:
    spoils = 0
    for schema, body in session.checked.items():
        if "openapi.json" in schema:
            continue
        body = shortened(copy.deepcopy(body))
        session.assert_fits(schema, body, schema)
        for what, other in spoilt(body):
            assert any(session.errors(schema, other)), f"{schema} lets through {what}"
            spoils += 1
    assert spoils > 300, spoils


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="HOST:PORT of the gateway's public listener")
    parser.add_argument("--admin", required=True, help="HOST:PORT of its admin listener")
    arguments = parser.parse_args()
    session = Session(arguments.url, arguments.admin)
    failed = run_checks(session)
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks hold, {len(session.checked)} forms of answers")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
