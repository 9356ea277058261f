"""Sends a labelled evaluation set to a text model in an open loop and prints one JSON object.

The client is tritonclient, as an ML engineer would use it. Requests start at seeded Poisson times whether or not earlier
ones were answered, so that waiting is not hidden; latency counts from the intended start.
"""

import argparse
import asyncio
import json
import random
import sys
import time

import numpy as np
import tritonclient.http.aio as http


def percentile_ms(latencies: list[float], quantile: float) -> float:
    return round(float(np.quantile(latencies, quantile)) * 1e3, 2) if latencies else float("nan")


async def send(client, arguments, text: str) -> int:
    """One request; returns the predicted label."""
    tensor = http.InferInput("text", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text.encode()]], dtype=object), binary_data=not arguments.as_json)
    output = http.InferRequestedOutput("label", binary_data=not arguments.as_json)
    answer = await client.infer(arguments.model, [tensor], outputs=[output])
    return int(answer.as_numpy("label").ravel()[0])


async def run(arguments) -> dict:
    with open(arguments.eval, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    rng = random.Random(arguments.seed)
    latencies: list[float] = []
    failures: list[str] = []
    correct = 0

    async with http.InferenceServerClient(arguments.url, conn_limit=512) as client:

        async def one(row: dict, intended: float) -> None:
            nonlocal correct
            try:
                label = await send(client, arguments, row["text"])
                latencies.append(time.perf_counter() - intended)
                correct += label == int(row["label"])
            except Exception as error:  # every failure is counted and shown, none hidden
                failures.append(str(error))

        tasks = []
        begin = intended = time.perf_counter()
        for index in range(arguments.requests):
            intended += rng.expovariate(arguments.rate)
            await asyncio.sleep(max(0.0, intended - time.perf_counter()))
            tasks.append(asyncio.create_task(one(rows[index % len(rows)], intended)))
            if sys.stderr.isatty() and index % 50 == 0:
                print(f"\r  {index}/{arguments.requests} requests", end="", file=sys.stderr, flush=True)
        await asyncio.gather(*tasks)
        if sys.stderr.isatty():
            print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    answered = len(latencies)
    return {
        "requests": arguments.requests,
        "answered": answered,
        "failed": len(failures),
        "first_failure": failures[0] if failures else None,
        "seconds": round(time.perf_counter() - begin, 2),
        "p50_ms": percentile_ms(latencies, 0.5),
        "p95_ms": percentile_ms(latencies, 0.95),
        "p99_ms": percentile_ms(latencies, 0.99),
        "accuracy": round(correct / answered, 4) if answered else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="HOST:PORT of the gateway")
    parser.add_argument("--model", required=True)
    parser.add_argument("--eval", required=True, help="JSON lines with text and label")
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="mean requests per second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--as-json", action="store_true", help="JSON tensors instead of binary ones")
    print(json.dumps(asyncio.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
