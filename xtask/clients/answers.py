"""Every answer its own: many concurrent requests with distinct contents, each compared with the unbatched answer.

The reference runs here, one item at a time, with ONNX Runtime on the same model files. JSON and binary tensors alternate.
Prints one JSON object; exits 1 if an answer is missing, failed or differs by more than the tolerance.
"""

import argparse
import asyncio
import json
import pathlib
import random
import sys
import time
import tomllib

import numpy as np
import onnxruntime
import tokenizers
import tritonclient.http.aio as http


class Reference:
    """The model of a folder, run unbatched."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.manifest = tomllib.loads((folder / "model.toml").read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / self.manifest["file"]), options)
        self.graph_inputs = [graph_input.name for graph_input in self.session.get_inputs()]
        self.tokenizer = None
        if "tokenizer" in self.manifest:
            self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / self.manifest["tokenizer"]["file"]))
            self.tokenizer.no_padding()
            self.tokenizer.enable_truncation(self.manifest["max_length"])

    def __call__(self, text: str) -> dict[str, np.ndarray]:
        if self.tokenizer is None:
            feed = {self.graph_inputs[0]: np.array([[text]], dtype=object)}
        else:
            ids = np.array([self.tokenizer.encode(text).ids], dtype=np.int64)
            columns = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            feed = {name: columns[name] for name in self.graph_inputs}
        names = [output["name"] for output in self.manifest["outputs"]]
        return dict(zip(names, self.session.run(names, feed)))


def distinct_texts(count: int, seed: int) -> list[str]:
    """Short texts, no two alike: words drawn at random and the index among them."""
    words = "the a film plot was truly dull bright warm cold slow great poor bad good story actor scene music end never always".split()
    rng = random.Random(seed)
    return [f"{' '.join(rng.choices(words, k=rng.randint(2, 12)))} {index}" for index in range(count)]


async def ask(client, name: str, model: Reference, text: str, binary: bool) -> dict[str, np.ndarray]:
    tensor = http.InferInput("text", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text.encode()]], dtype=object), binary_data=binary)
    outputs = [http.InferRequestedOutput(output["name"], binary_data=binary) for output in model.manifest["outputs"]]
    answer = await client.infer(name, [tensor], outputs=outputs)
    return {output["name"]: answer.as_numpy(output["name"]) for output in model.manifest["outputs"]}


def difference(ours: np.ndarray, reference: np.ndarray) -> float:
    if ours.size != reference.size:
        return float("inf")
    if np.issubdtype(reference.dtype, np.floating):
        return float(np.max(np.abs(ours.ravel() - reference.ravel())))
    return 0.0 if np.array_equal(ours.ravel(), reference.ravel()) else float("inf")


async def run(arguments) -> dict:
    models = {}
    for spec in arguments.model:
        name, folder = spec.split("=", 1)
        models[name] = Reference(pathlib.Path(folder))
    texts = distinct_texts(arguments.requests, arguments.seed)
    jobs = [(list(models)[index % len(models)], text) for index, text in enumerate(texts)]
    answers: list = [None] * len(jobs)
    gate = asyncio.Semaphore(arguments.concurrency)
    begin = time.perf_counter()
    async with http.InferenceServerClient(arguments.url, conn_limit=arguments.concurrency) as client:

        async def one(index: int) -> None:
            name, text = jobs[index]
            binary = (index // len(models)) % 2 == 0
            async with gate:
                try:
                    answers[index] = await ask(client, name, models[name], text, binary)
                except Exception as error:  # counted and shown below
                    answers[index] = str(error)

        await asyncio.gather(*(one(index) for index in range(len(jobs))))
    seconds = time.perf_counter() - begin
    failed = [answer for answer in answers if not isinstance(answer, dict)]
    worst = {name: 0.0 for name in models}
    wrong = 0
    for (name, text), answer in zip(jobs, answers):
        if isinstance(answer, dict):
            reference = models[name](text)
            distance = max(difference(answer[key], reference[key]) for key in reference)
            worst[name] = max(worst[name], distance)
            wrong += distance > arguments.tolerance
    return {
        "requests": len(jobs),
        "failed": len(failed),
        "first_failure": failed[0] if failed else None,
        "wrong": wrong,
        "max_difference": worst,
        "seconds": round(seconds, 2),
        "requests_per_second": round(len(jobs) / seconds, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="HOST:PORT of the gateway")
    parser.add_argument("--model", action="append", required=True, help="NAME=FOLDER of a text model; repeat")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=512)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--seed", type=int, default=0)
    result = asyncio.run(run(parser.parse_args()))
    print(json.dumps(result))
    sys.exit(1 if result["failed"] or result["wrong"] else 0)


if __name__ == "__main__":
    main()
