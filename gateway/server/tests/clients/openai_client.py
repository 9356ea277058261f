"""Drives a running gateway with the real `openai` client: embeddings, models, files and batches. Every answer is checked.

Needs the gateway to serve a sentence embedder with its tokenizer beside the manifest (`--model`) and model `identity` (FP32 [16], `x` in,
`y` out), and `[bulk] directory` to be set. Phases: `live` (embeddings and all of files and batches), `submit` (creates a batch, waits until
it has begun, prints its id) and `finish` (waits for that batch and checks that each line was answered once): between the last two the
gateway may be killed. Exits 1 with a list of what did not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import openai

from checks import CHECKS, check, run_checks

FINAL = {"completed", "failed", "expired", "cancelled"}


class Session:
    """The client and what the checks share."""

    def __init__(self, url: str, model: str, lines: int) -> None:
        self.url = url
        self.model = model
        self.lines = lines
        self.client = self.of_caller("sk-one")

    def of_caller(self, key: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"http://{self.url}/v1", api_key=key, max_retries=0, timeout=60.0)

    def embeddings_line(self, custom_id: str, text: object, **body: object) -> str:
        body = {"model": self.model, "input": text, **body}
        return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/embeddings", "body": body})

    def upload(self, lines: list[str]) -> str:
        data = "".join(line + "\n" for line in lines).encode()
        return self.client.files.create(file=("batch.jsonl", data), purpose="batch").id

    def batch(self, lines: list[str], endpoint: str = "/v1/embeddings", **options: object):
        file = self.upload(lines)
        return self.client.batches.create(
            input_file_id=file, endpoint=endpoint, completion_window="24h", **options
        )

    def wait(self, batch_id: str, seconds: float = 180.0):
        until = time.monotonic() + seconds
        while (batch := self.client.batches.retrieve(batch_id)).status not in FINAL:
            assert time.monotonic() < until, f"batch is still {batch.status}: {batch.request_counts}"
            time.sleep(0.1)
        return batch

    def content(self, file_id: str) -> list[dict]:
        return [json.loads(line) for line in self.client.files.content(file_id).text.splitlines()]


def expect(kind: type[openai.APIStatusError], part: str, call: Callable[[], object]) -> openai.APIStatusError:
    """Asserts that `call` fails as `kind` with a message that holds `part`."""
    try:
        call()
    except kind as error:
        assert part in str(error), f"{part!r} is not in {error}"
        return error
    raise AssertionError(f"no error, {kind.__name__} expected")


@check
def models(session: Session) -> None:
    listed = {model.id for model in session.client.models.list()}
    assert {session.model, "identity"} <= listed, listed
    assert session.client.models.retrieve(session.model).object == "model"
    expect(openai.NotFoundError, "nobody", lambda: session.client.models.retrieve("nobody"))


@check
def embeddings_mean_something(session: Session) -> None:
    texts = ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose by a quarter point."]
    answer = session.client.embeddings.create(model=session.model, input=texts)
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    vectors = np.array([entry.embedding for entry in answer.data], dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2, vectors @ vectors.T
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 15, answer.usage


@check
def both_encodings_and_each_text_alone_agree(session: Session) -> None:
    texts = ["one", "two words", "a third text of a few more words"]
    create = session.client.embeddings.create
    together = create(model=session.model, input=texts)  # the client asks for base64
    floats = create(model=session.model, input=texts, encoding_format="float")
    for position, text in enumerate(texts):
        one = np.array(together.data[position].embedding, dtype=np.float32)
        other = np.array(floats.data[position].embedding, dtype=np.float32)
        assert np.allclose(one, other, atol=1e-5)
        alone = create(model=session.model, input=text, dimensions=len(one))
        assert np.allclose(one, np.array(alone.data[0].embedding, dtype=np.float32), atol=1e-5)
    counts = [create(model=session.model, input=text).usage.prompt_tokens for text in texts]
    assert sum(counts) == together.usage.prompt_tokens, (counts, together.usage)


@check
def embeddings_are_refused_by_type(session: Session) -> None:
    create = session.client.embeddings.create
    expect(openai.NotFoundError, "nobody", lambda: create(model="nobody", input="a"))
    expect(openai.BadRequestError, "does not embed", lambda: create(model="identity", input="a"))
    error = expect(openai.BadRequestError, "token ids", lambda: create(model=session.model, input=[[1, 2]]))
    assert error.param == "input" and error.type == "invalid_request_error", error.body
    expect(openai.BadRequestError, "cannot be cut", lambda: create(model=session.model, input="a", dimensions=3))
    expect(openai.BadRequestError, "empty", lambda: create(model=session.model, input=""))


@check
def files_are_kept_listed_and_deleted(session: Session) -> None:
    first, second = session.upload(["{}"]), session.upload(['{"a":1}'])
    file = session.client.files.retrieve(first)
    assert (file.bytes, file.purpose, file.filename, file.status) == (3, "batch", "batch.jsonl", "processed")
    listed = [file.id for file in session.client.files.list(purpose="batch")]
    assert listed.index(second) < listed.index(first), "the newest come first"
    page = session.client.files.list(limit=1)
    assert len(page.data) == 1 and page.has_more
    assert session.client.files.content(second).read() == b'{"a":1}\n'
    assert session.client.files.delete(first).deleted
    expect(openai.NotFoundError, first, lambda: session.client.files.retrieve(first))
    expect(openai.NotFoundError, first, lambda: session.client.files.content(first))
    wrong = lambda purpose, data: session.client.files.create(file=("x", data), purpose=purpose)
    expect(openai.BadRequestError, "purpose", lambda: wrong("fine-tune", b"a"))
    expect(openai.BadRequestError, "empty", lambda: wrong("batch", b""))


@check
def a_batch_of_embeddings_gives_what_live_calls_give(session: Session) -> None:
    texts = [f"sentence number {number} about topic {number % 7}" for number in range(session.lines)]
    lines = [session.embeddings_line(f"q-{number}", text) for number, text in enumerate(texts)]
    lines[3] = session.embeddings_line("q-3", [texts[3], "a second text"], encoding_format="base64")
    batch = session.batch(lines, metadata={"name": "check"})
    assert batch.status in {"validating", "in_progress", "finalizing", "completed"}, batch.status
    assert batch.metadata == {"name": "check"} and batch.completion_window == "24h"
    assert batch.expires_at - batch.created_at == 24 * 3600
    batch = session.wait(batch.id)
    assert batch.status == "completed", batch
    assert batch.request_counts.to_dict() == {"total": len(texts), "completed": len(texts), "failed": 0}, batch
    assert batch.error_file_id is None and batch.errors is None
    assert batch.in_progress_at and batch.finalizing_at and batch.completed_at
    assert batch.to_dict()["penstock"]["cost_usd"] > 0
    answers = {answer["custom_id"]: answer for answer in session.content(batch.output_file_id)}
    assert set(answers) == {f"q-{number}" for number in range(len(texts))}
    assert len(answers) == len(session.content(batch.output_file_id)), "each line once"
    assert len({answer["id"] for answer in answers.values()}) == len(answers)
    for number in (0, 1, len(texts) - 1):
        answer = answers[f"q-{number}"]
        assert answer["error"] is None and answer["response"]["status_code"] == 200
        body = answer["response"]["body"]
        live = session.client.embeddings.create(model=session.model, input=texts[number], encoding_format="float")
        assert np.allclose(body["data"][0]["embedding"], live.data[0].embedding, atol=1e-5)
        assert body["usage"]["prompt_tokens"] == live.usage.prompt_tokens
    assert [type(entry["embedding"]) for entry in answers["q-3"]["response"]["body"]["data"]] == [str, str]


@check
def a_batch_of_tensors_gives_them_back(session: Session) -> None:
    url = "/v2/models/identity/infer"
    rows = [[number + column / 16 for column in range(16)] for number in range(20)]

    def line(number: int) -> str:
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": rows[number]}
        body = {"id": f"i{number}", "inputs": [tensor]}
        return json.dumps({"custom_id": f"r{number}", "method": "POST", "url": url, "body": body})

    batch = session.wait(session.batch([line(number) for number in range(20)], endpoint=url).id)
    assert batch.status == "completed" and batch.request_counts.completed == 20, batch
    for answer in session.content(batch.output_file_id):
        number = int(answer["custom_id"][1:])
        body = answer["response"]["body"]
        assert body["id"] == f"i{number}" and body["outputs"][0]["data"] == rows[number], answer


@check
def bad_lines_fail_the_batch_by_line_number(session: Session) -> None:
    good = session.embeddings_line("a", "text")
    for lines, line, code, part in [
        ([good, session.embeddings_line("b", "x"), good], 3, "duplicate_custom_id", "1"),
        ([good, '{"custom_id": "b"'], 2, "invalid_json_line", ""),
        ([good, session.embeddings_line("b", "")], 2, "invalid_request", "empty"),
        ([good, session.embeddings_line("b", "x").replace("/v1/embeddings", "/v1/chat")], 2, "mismatched_url", "url"),
        ([good, session.embeddings_line("b", "x", model="other")], 2, "invalid_request", "model"),
    ]:
        batch = session.wait(session.batch(lines).id)
        assert batch.status == "failed" and batch.failed_at, (lines, batch)
        first = batch.errors.data[0]
        assert (first.line, first.code) == (line, code) and part in first.message, first
        assert batch.output_file_id is None


@check
def a_batch_is_refused_when_it_is_created(session: Session) -> None:
    file = session.upload([session.embeddings_line("a", "text")])

    def create(**other: object) -> object:
        options = {"input_file_id": file, "endpoint": "/v1/embeddings", "completion_window": "24h", **other}
        return session.client.batches.create(**options)

    expect(openai.BadRequestError, "endpoint", lambda: create(endpoint="/v1/chat/completions"))
    expect(openai.BadRequestError, "completion_window", lambda: create(completion_window="never"))
    expect(openai.NotFoundError, "nobody", lambda: create(endpoint="/v2/models/nobody/infer"))
    expect(openai.NotFoundError, "file-", lambda: create(input_file_id="file-" + "0" * 32))
    expect(openai.BadRequestError, "metadata", lambda: create(metadata={str(key): "v" for key in range(17)}))


@check
def one_poison_line_fails_alone(session: Session) -> None:
    """A line that no invocation can carry has its place in the error file, with its number; its neighbours are answered."""
    lines = [session.embeddings_line(f"p{number}", f"text {number}") for number in range(6)]
    lines[4] = session.embeddings_line("p4", "long " * 1_600_000)
    batch = session.wait(session.batch(lines).id)
    assert batch.status == "completed" and batch.request_counts.failed == 1, batch
    assert len(session.content(batch.output_file_id)) == 5
    [fault] = session.content(batch.error_file_id)
    assert (fault["custom_id"], fault["response"], fault["error"]["line"]) == ("p4", None, 5), fault
    assert fault["error"]["code"] == "request_too_large", fault


@check
def strangers_see_nothing(session: Session) -> None:
    batch = session.wait(session.batch([session.embeddings_line("a", "text")]).id)
    stranger = session.of_caller("sk-two")
    for call in [
        lambda: stranger.batches.retrieve(batch.id),
        lambda: stranger.batches.cancel(batch.id),
        lambda: stranger.files.retrieve(batch.output_file_id),
        lambda: stranger.files.content(batch.output_file_id),
        lambda: stranger.files.delete(batch.input_file_id),
        lambda: stranger.batches.create(
            input_file_id=batch.input_file_id, endpoint="/v1/embeddings", completion_window="24h"
        ),
    ]:
        expect(openai.NotFoundError, "no ", call)
    assert not list(stranger.batches.list()) and not list(stranger.files.list())


@check
def batches_are_listed_in_pages(session: Session) -> None:
    ids = [session.batch([session.embeddings_line("a", "text")]).id for _ in range(3)]
    first = session.client.batches.list(limit=2)
    assert [batch.id for batch in first.data] == [ids[2], ids[1]] and first.has_more
    behind = session.client.batches.list(limit=2, after=ids[1])
    assert behind.data[0].id == ids[0]
    for batch in ids:
        session.wait(batch)


@check
def a_cancelled_batch_keeps_what_was_answered(session: Session) -> None:
    count = 40 * session.lines
    lines = [session.embeddings_line(f"c{number}", "some text to embed " * 20) for number in range(count)]
    batch = session.batch(lines)
    until = time.monotonic() + 120
    while session.client.batches.retrieve(batch.id).request_counts.completed == 0:
        assert time.monotonic() < until, "it did not begin"
        time.sleep(0.05)
    cancelling = session.client.batches.cancel(batch.id)
    assert cancelling.status in {"cancelling", "cancelled"} and cancelling.cancelling_at, cancelling
    batch = session.wait(batch.id)
    assert batch.status == "cancelled" and batch.cancelled_at, batch
    answered = session.content(batch.output_file_id)
    assert 0 < len(answered) == batch.request_counts.completed < count, batch.request_counts
    expect(openai.ConflictError, "cannot be cancelled", lambda: session.client.batches.cancel(batch.id))


def submit(session: Session) -> None:
    lines = [session.embeddings_line(f"k{number}", f"text {number} " * 20) for number in range(40 * session.lines)]
    batch = session.batch(lines)
    until = time.monotonic() + 120
    while (now := session.client.batches.retrieve(batch.id)).request_counts.completed == 0:
        assert time.monotonic() < until and now.status not in FINAL, now
        time.sleep(0.05)
    print(batch.id)


def finish(session: Session, batch_id: str) -> None:
    batch = session.wait(batch_id)
    count = 40 * session.lines
    assert batch.status == "completed" and batch.request_counts.completed == count, batch
    answered = [answer["custom_id"] for answer in session.content(batch.output_file_id)]
    assert sorted(answered) == sorted(f"k{number}" for number in range(count)), "a line is lost or twice there"
    print(f"ok     batch {batch_id}: each of {count} lines once")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="HOST:PORT of the gateway's public listener")
    parser.add_argument("--model", default="minilm", help="a sentence embedder")
    parser.add_argument("--lines", type=int, default=50, help="size of the batches")
    parser.add_argument("--phase", choices=["live", "submit", "finish"], default="live")
    parser.add_argument("--batch", help="for `finish`")
    arguments = parser.parse_args()
    session = Session(arguments.url, arguments.model, arguments.lines)
    if arguments.phase == "submit":
        submit(session)
        return 0
    if arguments.phase == "finish":
        finish(session, arguments.batch)
        return 0
    failed = run_checks(session)
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks hold, openai {openai.__version__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
