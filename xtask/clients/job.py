"""A job through `/v1/files` and `/v1/batches` that is larger than the time it gets: watched for some seconds, then cancelled.

Writes one JSON object: lines that were done, over how many seconds, and how it ended. Only the standard library, since what is measured
is not this client.
"""

import argparse
import itertools
import json
import time
import urllib.request

BOUNDARY = "penstock-job"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="HOST:PORT of the gateway")
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True, help="JSON lines with text")
    parser.add_argument("--lines", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    arguments = parser.parse_args()
    with open(arguments.texts, encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]

    def ask(path: str, body: bytes | None = None, content_type: str = "application/json") -> dict:
        headers = {"Authorization": "Bearer measurement"} | ({"Content-Type": content_type} if body is not None else {})
        request = urllib.request.Request(f"http://{arguments.url}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    endpoint = f"/v2/models/{arguments.model}/infer"
    rows = (
        json.dumps({"custom_id": str(number), "method": "POST", "url": endpoint, "body": {"inputs": [_tensor(text)]}})
        for number, text in zip(range(arguments.lines), itertools.cycle(texts))
    )
    parts = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    parts += f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="lines.jsonl"\r\n\r\n{chr(10).join(rows)}\r\n--{BOUNDARY}--\r\n'
    file = ask("/v1/files", parts.encode(), f"multipart/form-data; boundary={BOUNDARY}")
    asked = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h"}
    job = ask("/v1/batches", json.dumps(asked).encode())["id"]
    begin = time.monotonic()
    time.sleep(arguments.seconds)
    batch = ask(f"/v1/batches/{job}")
    seconds = time.monotonic() - begin
    status = batch["status"]
    if status not in ("completed", "failed"):
        ask(f"/v1/batches/{job}/cancel", b"")
    print(json.dumps({"lines": batch["request_counts"]["completed"], "failed": batch["request_counts"]["failed"], "seconds": seconds, "status": status}))


def _tensor(text: str) -> dict:
    return {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [text]}


if __name__ == "__main__":
    main()
