"""Sends texts to a model in an open loop whose rate changes in steps, and writes one JSON object a request.

The client is tritonclient. Requests start at seeded Poisson times whether or not earlier ones were answered, so that
waiting is not hidden; latency counts from the intended start. Times are seconds since the epoch.
"""

import argparse
import asyncio
import json
import random
import time

import numpy as np
import tritonclient.http.aio as http


def steps_of(text: str) -> list[tuple[float, float]]:
    """`5:180,60:120` → [(5.0, 180.0), (60.0, 120.0)]: requests per second, and for how many seconds."""
    return [(float(rate), float(seconds)) for rate, seconds in (step.split(":") for step in text.split(","))]


def intended_times(steps: list[tuple[float, float]], seed: int) -> list[float]:
    """Poisson arrivals, seconds from the start."""
    rng = random.Random(seed)
    times: list[float] = []
    begin = 0.0
    for rate, seconds in steps:
        at = begin + rng.expovariate(rate)
        while at < begin + seconds:
            times.append(at)
            at += rng.expovariate(rate)
        begin += seconds
    return times


async def run(arguments) -> list[dict]:
    with open(arguments.texts, encoding="utf-8") as lines:
        texts = [json.loads(line)["text"].encode() for line in lines]
    rows: list[dict] = []

    async with http.InferenceServerClient(arguments.url, conn_limit=512) as client:

        async def one(index: int, intended: float) -> None:
            tensor = http.InferInput("text", [1, 1], "BYTES")
            tensor.set_data_from_numpy(np.array([[texts[index % len(texts)]]], dtype=object))
            failure = None
            try:
                await client.infer(arguments.model, [tensor])
            except Exception as error:  # every failure is written down, none hidden
                failure = str(error)
            rows.append({"at": intended, "seconds": time.time() - intended, "failure": failure})

        tasks = []
        begin = time.time()
        print(json.dumps({"begin": begin}), flush=True)
        for index, offset in enumerate(intended_times(steps_of(arguments.steps), arguments.seed)):
            await asyncio.sleep(max(0.0, begin + offset - time.time()))
            tasks.append(asyncio.create_task(one(index, begin + offset)))
        await asyncio.gather(*tasks)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="HOST:PORT of the gateway")
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True, help="JSON lines with text")
    parser.add_argument("--steps", required=True, help="RATE:SECONDS,…")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True, help="one JSON object a request")
    arguments = parser.parse_args()
    rows = asyncio.run(run(arguments))
    with open(arguments.output, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
