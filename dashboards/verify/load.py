"""An open load of two models that changes in steps, with what goes wrong in real life: poison items, callers that leave, a burst
beyond the queue, a reload, wrong requests and, where the gateway has them, bulk jobs.

Open: requests start at their seeded Poisson times whether or not earlier ones were answered.
"""

import http.client
import itertools
import json
import os
import random
import signal
import struct
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .stack import ADAPTIVE, PINNED, Stack

CLIENTS = 96
TIMEOUT_SECONDS = 60
# Rates of the adaptive model over equal thirds of the run, requests per second; the pinned one's is constant.
STEPS = (6.0, 30.0, 6.0)
PINNED_RATE = 10.0
POISON_EVERY = 150
LEAVES_EVERY = 60
WRONG_EVERY = 100
BURST = 150
JOB_LINES = 400


class Load:
    """Sends it, and counts what came back by status."""

    def __init__(self, stack: Stack, reviews: Path, seconds: float, steps: tuple[float, ...] = STEPS) -> None:
        self._stack, self._seconds, self._steps = stack, seconds, steps
        self._texts = [json.loads(line)["text"] for line in reviews.read_text(encoding="utf-8").splitlines()]
        self._address = f"127.0.0.1:{stack.public}"
        self.answers: Counter[str] = Counter()
        self._lock = threading.Lock()
        # The last is nobody that the gateway knows.
        self._tenants = itertools.cycle(("search", "ads", "nobody"))

    def run(self) -> None:
        """Sends for so many seconds, then waits for what is under way."""
        begin = time.monotonic()
        moments = sorted(self._adaptive() + self._pinned() + self._incidents(), key=lambda moment: moment[0])
        with ThreadPoolExecutor(CLIENTS) as clients:
            for at, action in moments:
                time.sleep(max(0.0, begin + at - time.monotonic()))
                clients.submit(action)

    def _adaptive(self) -> list:
        randomness, moments, third = random.Random(1), [], self._seconds / len(self._steps)
        for index, rate in enumerate(self._steps):
            at = index * third + randomness.expovariate(rate)
            while at < (index + 1) * third:
                text = randomness.choice(self._texts)
                moments.append((at, lambda text=text: self._infer(ADAPTIVE, _text(text))))
                at += randomness.expovariate(rate)
        return moments

    def _pinned(self) -> list:
        randomness, moments, at = random.Random(2), [], 1.0
        while at < self._seconds:
            number = len(moments) + 1
            if number % LEAVES_EVERY == 0:
                moments.append((at, self._leave))
            elif number % WRONG_EVERY == 0:
                moments.append((at, lambda: self._infer(PINNED, {"inputs": []})))
            else:
                body = _numbers(b"pen!die." if number % POISON_EVERY == 0 else b"harmless")
                moments.append((at, lambda body=body: self._infer(PINNED, body)))
            at += randomness.expovariate(PINNED_RATE)
        return moments

    def _incidents(self) -> list:
        burst = [(self._seconds * 0.6, lambda: self._infer(PINNED, _numbers(b"harmless", 8)))] * BURST
        reload = (self._seconds * 0.3, lambda: os.kill(self._stack.gateway_pid(), signal.SIGHUP))
        jobs = [(self._seconds * share, self._job) for share in (0.1, 0.5, 0.8)] if self._stack.has_jobs else []
        return [*burst, reload, *jobs]

    def _infer(self, model: str, body: dict) -> None:
        request = urllib.request.Request(f"http://{self._address}/v2/models/{model}/infer", json.dumps(body).encode(), {"x-tenant": next(self._tenants)})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                answer.read()
                self._count(str(answer.status))
        except urllib.error.HTTPError as error:
            self._count(str(error.code))
        except OSError as error:
            self._count(type(error).__name__)

    def _leave(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_SECONDS)
        connection.request("POST", f"/v2/models/{PINNED}/infer", json.dumps(_numbers(b"harmless")))
        time.sleep(0.01)
        connection.close()
        self._count("left")

    def _job(self) -> None:
        endpoint = f"/v2/models/{ADAPTIVE}/infer"
        lines = [
            json.dumps({"custom_id": str(number), "method": "POST", "url": endpoint, "body": _text(self._texts[number % len(self._texts)])})
            for number in range(JOB_LINES)
        ]
        try:
            file = self._post("/v1/files", *_form("\n".join(lines)))
            batch = {"input_file_id": file["id"], "endpoint": endpoint, "completion_window": "24h"}
            self._post("/v1/batches", json.dumps(batch).encode(), "application/json")
            self._count("job")
        except OSError as error:
            self._count(f"job: {error}")

    def _post(self, path: str, body: bytes, content_type: str) -> dict:
        request = urllib.request.Request(f"http://{self._address}{path}", body, {"Content-Type": content_type})
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return json.load(answer)

    def _count(self, what: str) -> None:
        with self._lock:
            self.answers[what] += 1


def _text(text: str) -> dict:
    return {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [text]}]}


def _numbers(word: bytes, rows: int = 1) -> dict:
    row = [*struct.unpack("<2f", word), *([0.0] * 14)]
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, 16], "data": row * rows}]}


def _form(lines: str) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    parts = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="reviews.jsonl"\r\n'
        f"Content-Type: application/jsonl\r\n\r\n{lines}\r\n--{boundary}--\r\n"
    )
    return parts.encode(), f"multipart/form-data; boundary={boundary}"
