"""Deploys into an offline stand-in of AWS, serves real requests through it, takes everything away, and says what is left.

The stand-in is `ministack`: it runs the worker's real bootstrap. What it cannot judge: permissions (it enforces none), the hosts (an
Auto Scaling group there starts no machine, so the gateway runs on this machine with the deployed configuration), alarms and budgets.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import boto3

DEPLOY = Path(__file__).resolve().parent
ROOT = DEPLOY.parent

# What a deployment makes, and how the stand-in lists it: service, operation, path of the names.
LISTINGS = {
    "stacks": ("cloudformation", "describe_stacks", "Stacks", "StackName"),
    "buckets": ("s3", "list_buckets", "Buckets", "Name"),
    "functions": ("lambda", "list_functions", "Functions", "FunctionName"),
    "roles": ("iam", "list_roles", "Roles", "RoleName"),
    "instance profiles": ("iam", "list_instance_profiles", "InstanceProfiles", "InstanceProfileName"),
    "log groups": ("logs", "describe_log_groups", "logGroups", "logGroupName"),
    "alarms": ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
    "load balancers": ("elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerName"),
    "target groups": ("elbv2", "describe_target_groups", "TargetGroups", "TargetGroupName"),
    "launch templates": ("ec2", "describe_launch_templates", "LaunchTemplates", "LaunchTemplateName"),
    "scaling groups": ("autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups", "AutoScalingGroupName"),
    "state machines": ("stepfunctions", "list_state_machines", "stateMachines", "name"),
    "security groups": ("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
}


def free_port() -> int:
    """A port nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str, body: bytes | None = None) -> bytes:
    """One request."""
    with urllib.request.urlopen(url, data=body, timeout=30) as answer:
        return bytes(answer.read())


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float) -> None:
    """Until `url` answers 200, or the process has ended, or too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"a server ended with {process.returncode}")
        try:
            get(url)
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    raise RuntimeError(f"{url} did not answer within {seconds:.0f} s")


class StandIn:
    """A running stand-in and how to reach it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        own = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port), "IOT_MTLS_ENABLED": "0"}
        self.log = (folder / "standin.log").open("wb")
        command = [sys.executable, "-m", "ministack"]
        self.process = subprocess.Popen(command, env=os.environ | own, cwd=folder, stdout=self.log, stderr=self.log)
        wait_for(f"{self.url}/_ministack/health", self.process, 60)

    def client(self, service: str) -> Any:
        """A client of one service."""
        return boto3.client(
            service, region_name="us-east-1", endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test"
        )

    def listing(self) -> dict[str, list[str]]:
        """Names of everything a deployment may make."""
        found = {}
        for what, (service, operation, member, name) in LISTINGS.items():
            things = getattr(self.client(service), operation)()[member]
            # A deleted stack stays listed for ninety days.
            found[what] = sorted(thing[name] for thing in things if thing.get("StackStatus") != "DELETE_COMPLETE")
        return found

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()


def difference(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, list[str]]:
    """What `after` has and `before` had not."""
    return {what: new for what, names in after.items() if (new := [name for name in names if name not in before[what]])}


def run(command: str, stand_in: StandIn, *words: str) -> None:
    """Runs what deploy.sh and destroy.sh run."""
    subprocess.run([sys.executable, str(DEPLOY / "deploy.py"), command, "--name", "trial", *words], env=stand_in.environment, check=True)


def deploy(options: argparse.Namespace, stand_in: StandIn, model: Path, model_in: str) -> None:
    """One deployment, into a network made for it."""
    run("up", stand_in, "--model-dir", str(model), "--model-in", model_in, "--memory", "512,1024,1769",
        "--penstock", str(options.penstock), "--bootstrap", str(options.bootstrap), "--onnxruntime", str(options.onnxruntime),
        "--bulk", "--max-glibc", "2.99",  # the function runs on this machine
        "--vpc", options.vpc, "--subnets", options.subnets, "--image-parameter", "/penstock/image", "--state-copy", options.state_copy)  # fmt: skip


def serve(options: argparse.Namespace, stand_in: StandIn, folder: Path, model: Path) -> dict[str, object]:
    """Runs the gateway with the deployed configuration and sends one request."""
    outputs = stand_in.client("cloudformation").describe_stacks(StackName="trial-storage")["Stacks"][0]["Outputs"]
    bucket = {pair["OutputKey"]: pair["OutputValue"] for pair in outputs}["ArtifactsBucket"]
    s3 = stand_in.client("s3")
    configs = sorted(s3.list_objects_v2(Bucket=bucket, Prefix="config/")["Contents"], key=lambda one: one["LastModified"])
    host = Path(tempfile.mkdtemp(prefix="host-", dir=folder))
    s3.download_file(bucket, configs[-1]["Key"], str(host / "config.tar.gz"))
    subprocess.run(["tar", "-xzf", "config.tar.gz"], cwd=host, check=True)
    public, admin = free_port(), free_port()
    sets = [f"listen.public_address=127.0.0.1:{public}", f"listen.admin_address=127.0.0.1:{admin}", "state.directory=state",
            f"aws.endpoint_url={stand_in.url}", "drain.drain_delay_ms=0"]  # fmt: skip
    command = [str(options.penstock), "serve", "--config", str(host / "penstock.toml")]
    for pair in sets:
        command += ["--set", pair]
    with (host / "gateway.log").open("wb") as log:
        gateway = subprocess.Popen(command, env=stand_in.environment, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{public}/v2/health/ready", gateway, 60)
            answer = json.loads(get(f"http://127.0.0.1:{public}/v2/models/{model.name}/infer", request(model)))
            metrics = get(f"http://127.0.0.1:{admin}/metrics").decode()
        except Exception:
            print((host / "gateway.log").read_text()[-4000:], file=sys.stderr)
            raise
        finally:
            gateway.terminate()
            gateway.wait(40)
    if gateway.returncode != 0:
        raise RuntimeError(f"the gateway ended with {gateway.returncode}")
    billed = [line for line in metrics.splitlines() if line.startswith("penstock_invocations_total")]
    return {"outputs": answer["outputs"], "invocations": billed}


def request(model: Path) -> bytes:
    """One item that fits the model's inputs."""
    inputs = []
    for spec in tomllib.loads((model / "model.toml").read_text())["inputs"]:
        count = 1
        for dimension in spec["shape"]:
            count *= dimension
        data = ["What a wonderful film."] * count if spec["datatype"] == "BYTES" else [0.5] * count
        inputs.append({"name": spec["name"], "datatype": spec["datatype"], "shape": [1, *spec["shape"]], "data": data})
    return json.dumps({"inputs": inputs}).encode()


def trial(options: argparse.Namespace, stand_in: StandIn, folder: Path) -> dict[str, object]:
    """The whole: deploy, serve, deploy again, serve with the model in S3, destroy."""
    ec2 = stand_in.client("ec2")
    options.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=options.vpc, CidrBlock=f"10.0.{index}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"]["SubnetId"]
        for index, zone in enumerate("ab")
    ]
    options.subnets = ",".join(subnets)
    stand_in.client("ssm").put_parameter(Name="/penstock/image", Type="String", Value="ami-12345678")
    before = stand_in.listing()
    model = Path(options.model_dir)
    report: dict[str, object] = {}
    deploy(options, stand_in, model, "zip")
    report["made"] = difference(before, made := stand_in.listing())
    aliases = stand_in.client("lambda").list_aliases(FunctionName=f"trial-{model.name}")["Aliases"]
    report["aliases"] = {alias["Name"]: alias["FunctionVersion"] for alias in aliases}
    report["served, model in the zip"] = serve(options, stand_in, folder, model)
    deploy(options, stand_in, model, "zip")
    report["made by a second run"] = difference(made, stand_in.listing())
    deploy(options, stand_in, model, "s3")
    report["served, model in S3"] = serve(options, stand_in, folder, model)
    run("down", stand_in)
    report["left"] = difference(before, stand_in.listing())
    return report


def main() -> int:
    """Prints a JSON report; 1 if anything is left or failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--penstock", type=Path, default=ROOT / "target/release/penstock")
    parser.add_argument("--bootstrap", type=Path, default=ROOT / "target/release/bootstrap")
    parser.add_argument("--onnxruntime", type=Path, default=ROOT / "target/penstock/onnxruntime/lib/libonnxruntime.so")
    parser.add_argument("--model-dir", type=Path, default=ROOT / "target/penstock/models/imdb-sentiment")
    parser.add_argument("--state-copy", choices=("s3", "none"), default="s3")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-standin-") as name:
        folder = Path(name)
        stand_in = StandIn(folder)
        try:
            report = trial(options, stand_in, folder)
        except Exception:
            stand_in.log.flush()
            print((folder / "standin.log").read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
        finally:
            stand_in.stop()
    text = json.dumps(report, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 1 if report["left"] or report["made by a second run"] else 0


if __name__ == "__main__":
    sys.exit(main())
