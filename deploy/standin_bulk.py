"""Runs the same bulk jobs by the local engine and by Step Functions, in an offline stand-in of AWS, and compares their files byte by byte.

The stand-in is `ministack`: it executes the state machine that `cloudformation/bulk.yaml` makes (ItemReader, Distributed Map, retries) and runs the
worker's real bootstrap, which reads chunks from its S3 and writes answers there. What it cannot judge: permissions (it enforces none);
MaxConcurrencyPath, ToleratedFailurePercentagePath and ResultWriter (it ignores them: it runs up to 64 chunks at a time, any failed chunk fails the
execution, results are not written, and chunks of a stopped execution run on); throttles; speed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import standin
from standin import ROOT, StandIn

MANIFEST = """name = "identity"
version = "1"
engine = "identity"
inputs = [{ name = "x", datatype = "FP32", shape = [4] }]
outputs = [{ name = "y", datatype = "FP32", shape = [4] }]
"""


def data_set(lines: int) -> bytes:
    """Plain lines of four numbers; every hundredth has three of them, and some lines are blank."""
    written = []
    for number in range(lines):
        values = [number, number * 0.5, -1, 0.25][: 3 if number % 100 == 7 else 4]
        written.append(json.dumps({"id": f"i{number}", "x": values}))
        if number % 250 == 3:
            written.append("")
    return ("\n".join(written) + "\n").encode()


class Jobs:
    """`penstock bulk` against what was deployed."""

    def __init__(self, options: argparse.Namespace, stand_in: StandIn, folder: Path) -> None:
        self.options, self.stand_in, self.folder = options, stand_in, folder
        stack = stand_in.client("cloudformation").describe_stacks(StackName="trial-bulk")["Stacks"][0]["Outputs"]
        outputs = {pair["OutputKey"]: pair["OutputValue"] for pair in stack}
        self.machine, self.work = outputs["StateMachineArn"], outputs["WorkBucket"]
        self.s3, self.states = stand_in.client("s3"), stand_in.client("stepfunctions")
        self.s3.create_bucket(Bucket="data")
        config = f"""[aws]
region = "us-east-1"
endpoint_url = "{stand_in.url}"
[models.identity]
manifest = "model"
function = "trial-identity"
[models.identity.plan]
memory_mib = 1769
qualifier = "mem-1769"
"""
        (folder / "penstock.toml").write_text(config)

    def command(self, name: str, *words: str) -> list[str]:
        """`bulk NAME` with this folder's state."""
        return [str(self.options.penstock), "bulk", name, "--state-dir", str(self.folder / "state"), *words]

    def run_command(self, source: str, output: str, engine: str, *words: str) -> list[str]:
        """A run of a data set."""
        away = ["--engine", "step-functions", "--state-machine", self.machine, "--work", f"s3://{self.work}/jobs"]
        return self.command(
            "run", "--config", str(self.folder / "penstock.toml"), "--model", "identity", "--column", "x", "--input", f"s3://data/{source}",
            "--output", f"s3://data/{output}", "--chunk-items", "50", "--processes", "2", "--parallelism", "8",
            "--json", str(self.folder / "report.json"), *(away if engine == "step-functions" else []), *words)  # fmt: skip

    def run(self, source: str, output: str, engine: str, *words: str) -> dict[str, Any]:
        """Runs a job to its end; gives its report."""
        done = subprocess.run(self.run_command(source, output, engine, *words), env=self.stand_in.environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"the {engine} job ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return dict(json.loads((self.folder / "report.json").read_text()))

    def read(self, key: str) -> bytes:
        """An object of the data bucket."""
        return bytes(self.s3.get_object(Bucket="data", Key=key)["Body"].read())

    def lines(self, key: str) -> list[bytes]:
        """Its lines, sorted."""
        return sorted(self.read(key).splitlines())

    def executions(self, job: str) -> list[str]:
        """States of a job's executions."""
        found = self.states.list_executions(stateMachineArn=self.machine)["executions"]
        return [one["status"] for one in found if one["name"].startswith(job)]

    def left(self) -> list[str]:
        """What lies in the work bucket."""
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=self.work).get("Contents", [])]

    def start(self, source: str, output: str) -> tuple[subprocess.Popen[bytes], str]:
        """Starts a job in the state machine; gives its process and its id once chunks are being answered."""
        log = (self.folder / f"{output}.log").open("wb")
        process = subprocess.Popen(self.run_command(source, output, "step-functions"), env=self.stand_in.environment, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            answers = [key for key in self.left() if "/answers/" in key]
            if answers:
                return process, answers[0].split("/")[1]
            time.sleep(0.02)
        raise RuntimeError("no chunk was answered:\n" + (self.folder / f"{output}.log").read_text())


def require(holds: bool, text: str) -> None:
    """Fails with the text."""
    if not holds:
        raise RuntimeError(text)


def same_files(jobs: Jobs) -> dict[str, object]:
    """The same input by both engines: the same lines, and where they are sorted the same bytes."""
    jobs.s3.put_object(Bucket="data", Key="in.jsonl", Body=data_set(1000))
    local, away = jobs.run("in.jsonl", "local.jsonl", "local"), jobs.run("in.jsonl", "away.jsonl", "step-functions")
    require(jobs.lines("local.jsonl") == jobs.lines("away.jsonl") and len(jobs.lines("away.jsonl")) == 990, "outputs differ")
    require(jobs.lines("local.jsonl.errors.jsonl") == jobs.lines("away.jsonl.errors.jsonl"), "error files differ")
    require(len(jobs.lines("away.jsonl.errors.jsonl")) == 10, "ten lines do not fit the model")
    require(jobs.executions(away["job"]) == ["SUCCEEDED"], f"executions: {jobs.executions(away['job'])}")
    require(away["cost"]["invocations"] == local["cost"]["invocations"] == 20, f"{local['cost']} {away['cost']}")
    require(not jobs.left(), f"left in the work bucket: {jobs.left()}")
    for engine in ("local", "step-functions"):
        jobs.run("in.jsonl", f"{engine}.parquet", engine, "--sorted")
    require(jobs.read("local.parquet") == jobs.read("step-functions.parquet"), "sorted Parquet files differ")
    run_of = jobs.states.list_map_runs
    described = [
        jobs.states.describe_map_run(mapRunArn=run["mapRunArn"])["itemCounts"]
        for one in jobs.states.list_executions(stateMachineArn=jobs.machine)["executions"]
        if one["name"].startswith(away["job"])
        for run in run_of(executionArn=one["executionArn"])["mapRuns"]
    ]
    return {"lines": 1000, "answered": 990, "chunks": described[0]["total"], "local": local["cost"], "step-functions": away["cost"]}


def killed(jobs: Jobs) -> dict[str, object]:
    """`kill -9` while the execution runs; a wrong answer is put in the place of a right one; the same command takes the rest in."""
    jobs.s3.put_object(Bucket="data", Key="more.jsonl", Body=data_set(3000))
    jobs.run("more.jsonl", "calm.jsonl", "local")
    process, job = jobs.start("more.jsonl", "killed.jsonl")
    process.kill()
    process.wait()
    end = time.monotonic() + 120
    while jobs.executions(job) == ["RUNNING"] and time.monotonic() < end:
        time.sleep(0.1)
    answers = [key for key in jobs.left() if "/answers/" in key]
    jobs.s3.put_object(Bucket=jobs.work, Key=answers[-1], Body=b'{"v":1,"batch":0,"ids":[],"outputs":[],"errors":[],"report":{}}')
    report = jobs.run("more.jsonl", "killed.jsonl", "step-functions")
    require(report["job"] == job and jobs.executions(job) == ["SUCCEEDED"], f"{report['job']} {job}: {jobs.executions(job)}")
    require(jobs.lines("calm.jsonl") == jobs.lines("killed.jsonl") and len(jobs.lines("killed.jsonl")) == 2970, "outputs differ")
    return {"lines": 3000, "executions": 1, "answers when it was killed and the execution had ended": len(answers)}


def cancelled(jobs: Jobs) -> dict[str, object]:
    """Cancelling stops the execution and keeps what was answered. The stand-in lets chunks run on that a stopped execution had begun."""
    jobs.s3.put_object(Bucket="data", Key="long.jsonl", Body=data_set(20_000))
    process, job = jobs.start("long.jsonl", "cancelled.jsonl")
    said = subprocess.run(jobs.command("cancel", job), env=jobs.stand_in.environment, capture_output=True, text=True, check=True).stdout
    require(process.wait(120) == 1, "a cancelled job ends with 1")
    require(jobs.executions(job) == ["ABORTED"], f"executions: {jobs.executions(job)}")
    kept = jobs.lines("cancelled.jsonl")
    whole = {json.loads(line)["id"] for line in kept}
    require(0 < len(whole) == len(kept) <= 19_800, f"{len(kept)} lines kept")
    return {"lines": 20_000, "kept": len(kept), "said": said.strip()}


def main() -> int:
    """Prints a JSON report; raises what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--penstock", type=Path, default=ROOT / "target/release/penstock")
    parser.add_argument("--bootstrap", type=Path, default=ROOT / "target/release/bootstrap")
    parser.add_argument("--onnxruntime", type=Path, default=ROOT / "target/penstock/onnxruntime/lib/libonnxruntime.so")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-standin-") as name:
        folder = Path(name)
        model = folder / "identity"
        model.mkdir()
        (model / "model.toml").write_text(MANIFEST)
        (folder / "model").symlink_to(model)
        stand_in = StandIn(folder)
        try:
            standin.run("up", stand_in, "--model-dir", str(model), "--memory", "1769", "--bulk", "--penstock", str(options.penstock),
                "--bootstrap", str(options.bootstrap), "--onnxruntime", str(options.onnxruntime), "--max-glibc", "2.99")  # fmt: skip
            jobs = Jobs(options, stand_in, folder)
            report = {"same files": same_files(jobs), "killed": killed(jobs), "cancelled": cancelled(jobs)}
        except Exception:
            stand_in.log.flush()
            print((folder / "standin.log").read_text(errors="replace")[-int(os.environ.get("PENSTOCK_LOG_TAIL", "3000")) :], file=sys.stderr)
            raise
        finally:
            stand_in.stop()
    text = json.dumps(report, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
