#!/usr/bin/env python3
"""Time per token by memory and batch, through the local Lambda: `python measure_generation.py --help`.

One function a model, one alias a memory size; every call is an invocation of the real worker with its CPU metered
as Lambda meters it. What is given is the worker's own report of the second and later calls (the first one starts
the sandbox). Times are those of a vCPU that is `--cpu-scale` cores of this machine, so on an otherwise idle
machine they are 1 / cpu-scale times those of a whole core. Nothing is checked here: that the text is right, the
tests say.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

_VCPU_MIB = 1_769
_PROMPT = "Once upon a time there was a little girl who lived in a village near the"


def main() -> None:
    """Starts an emulator, measures every combination, stops it."""
    arguments = _parse_arguments()
    with tempfile.TemporaryDirectory(prefix="penstock-generation-") as scratch:
        address, emulator = _start(arguments, Path(scratch))
        try:
            rows = [
                row
                for memory in arguments.memory
                for row in _measure(arguments, address, memory)
            ]
        finally:
            emulator.terminate()
            emulator.wait(timeout=30)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


def _measure(arguments: argparse.Namespace, address: str, memory: int) -> list[dict]:
    rows = []
    processes = max(1, math.ceil(memory / _VCPU_MIB)) if arguments.processes == 0 else arguments.processes
    for batch in arguments.batch:
        reports = []
        for call in range(1 + arguments.runs):
            answer = _invoke(arguments, address, memory, batch, processes)
            if answer is None:
                break
            if call > 0 or not answer["report"]["cold"]:
                reports.append(answer["report"])
        if not reports:
            print(f"{arguments.model} {memory} MiB, batch {batch}: no answer", file=sys.stderr)
            continue
        rows.append(_row(arguments, memory, batch, processes, reports))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _row(
    arguments: argparse.Namespace, memory: int, batch: int, processes: int, reports: list[dict]
) -> dict:
    def median(value: object) -> float:
        return statistics.median(value(report) for report in reports)

    def total(report: dict, key: str) -> float:
        return sum(process[key] for process in report["processes"])

    def steps(report: dict) -> float:
        """Milliseconds from a row's token to its next one, in the slowest process."""
        return max(
            (process["compute_us"] - process["prefill_us"]) / 1e3 / (arguments.max_tokens - 1)
            for process in report["processes"]
        )

    return {
        "model": arguments.model,
        "memory_mib": memory,
        "batch": batch,
        "processes": processes,
        "cpu_scale": arguments.cpu_scale,
        "runs": len(reports),
        "init_ms": round(reports[0]["init_us"] / 1e3),
        "handler_ms": round(median(lambda report: report["handler_us"]) / 1e3, 1),
        "prefill_ms": round(median(lambda report: max(p["prefill_us"] for p in report["processes"])) / 1e3, 1),
        "step_ms": round(median(steps), 2),
        "handler_ms_per_token": round(
            median(lambda report: report["handler_us"] / 1e3 / max(total(report, "generated_tokens"), 1)), 2
        ),
        "cpu_ms_per_token": round(
            median(lambda report: total(report, "cpu_us") / 1e3 / max(total(report, "generated_tokens"), 1)), 2
        ),
    }


def _invoke(
    arguments: argparse.Namespace, address: str, memory: int, batch: int, processes: int
) -> dict | None:
    # A temperature at which texts differ; few end before `max_tokens`.
    items = [
        _element(f"{_PROMPT} {index}") + _element(
            json.dumps({"max_tokens": arguments.max_tokens, "temperature": 0.7, "seed": index})
        )
        for index in range(batch)
    ]
    request = {
        "v": 1,
        "batch": 1,
        "model": arguments.model,
        "model_version": "1",
        "process_count": processes,
        "ids": list(range(batch)),
        "inputs": [
            {
                "name": "text",
                "datatype": "BYTES",
                "shape": [2],
                "data": base64.b64encode(b"".join(items)).decode(),
            }
        ],
    }
    url = f"{address}/2015-03-31/functions/{arguments.model}/invocations?Qualifier=mem-{memory}"
    call = urllib.request.Request(url, json.dumps(request).encode(), method="POST")
    with urllib.request.urlopen(call, timeout=arguments.timeout + 30) as reply:
        answer = json.loads(reply.read())
    if "report" not in answer or answer["errors"]:
        print(f"{memory} MiB: {json.dumps(answer)[:300]}", file=sys.stderr)
        return None
    return answer


def _element(text: str) -> bytes:
    return struct.pack("<I", len(text.encode())) + text.encode()


def _start(arguments: argparse.Namespace, scratch: Path) -> tuple[str, subprocess.Popen]:
    package = scratch / "package"
    (package / "lib").mkdir(parents=True)
    shutil.copy(arguments.bootstrap, package / "bootstrap")
    shutil.copy(arguments.onnxruntime, package / "lib/libonnxruntime.so")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = scratch / "emulator.toml"
    config.write_text(
        f'listen = "127.0.0.1:{port}"\nstate_dir = "{scratch / "state"}"\n'
        f"[metering]\ncpu_scale = {arguments.cpu_scale}\n[lifecycle]\nkeep_alive_ms = 1000\n"
        f'[[function]]\nname = "{arguments.model}"\npackage_dir = "{package}"\n'
        f"memory_mib = {arguments.memory}\ntimeout_seconds = {arguments.timeout}\n"
        f'links = {{ model = "{(arguments.models / arguments.model).resolve()}" }}\n'
    )
    emulator = subprocess.Popen([str(arguments.penstock), "emulate", "--config", str(config)])
    address = f"http://127.0.0.1:{port}"
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{address}/_penstock/health", timeout=1).close()
            return address, emulator
        except OSError:
            time.sleep(0.1)
    emulator.kill()
    raise SystemExit("the emulator does not answer")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--model", default="smollm2-int8", help="a generating model")
    parser.add_argument("--models", type=Path, required=True, help="the folder of built models")
    parser.add_argument("--penstock", type=Path, required=True, help="the command, for `penstock emulate`")
    parser.add_argument("--bootstrap", type=Path, required=True, help="the worker")
    parser.add_argument("--onnxruntime", type=Path, required=True, help="libonnxruntime.so")
    parser.add_argument("--memory", type=int, nargs="+", default=[512, 1024, 1769, 3538, 7076], help="MiB")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16], help="items an invocation")
    parser.add_argument("--processes", type=int, default=0, help="0: one a vCPU, rounded up")
    parser.add_argument("--max-tokens", type=int, default=32, help="tokens to write for each item")
    parser.add_argument("--runs", type=int, default=3, help="warm invocations of each combination")
    parser.add_argument("--cpu-scale", type=float, default=0.5, help="cores of this machine that are a vCPU")
    parser.add_argument("--timeout", type=int, default=600, help="of an invocation, seconds")
    parser.add_argument("--json", type=Path, help="where the rows go as well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
